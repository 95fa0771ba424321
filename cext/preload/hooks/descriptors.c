/* Descriptors come and go: close, dup, fcntl, ioctl, and a descriptor that becomes another. */
#include "internal.h"
#include "parts.h"
#include "relay/relay.h"

#include <linux/close_range.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

int become(int fd, int with) {
    int cloexec = real_fcntl(fd, F_GETFD), status = real_fcntl(fd, F_GETFL), result = -1;
    if (cloexec >= 0 && status >= 0) {
        real_fcntl(with, F_SETFL, (real_fcntl(with, F_GETFL) & ~O_NONBLOCK) | (status & O_NONBLOCK));
        result = real_dup3(with, fd, cloexec & FD_CLOEXEC ? O_CLOEXEC : 0) == fd ? 0 : -1;
    }
    return result;
}

int swap_descriptor(int fd, int with) {
    int result = become(fd, with);
    real_close(with);
    return result;
}

/* The program gives its last descriptor of a connection away: say to the other end how it ended. */
static void say_goodbye(struct conn *conn, int fd) {
    struct vn_half *own = conn->own;
    if (atomic_load(&conn->entry.references) > 1 || own->forked || conn->phase == VN_PLAIN)
        return;
    if (conn->phase == VN_CONNECTING) {   /* nobody will accept it */
        atomic_fetch_or(&own->state, VN_WITHDRAWN);
        broker_forget(&conn->source, &conn->target);
        return;
    }
    bool unread = conn->peer != NULL && conn->peer->head != own->tail;
    struct linger linger = {0, 0};
    socklen_t length = sizeof(linger);
    bool abort = conn->kept >= 0 && real_getsockopt(conn->kept, SOL_SOCKET, SO_LINGER, &linger, &length) == 0 &&
                 linger.l_onoff && linger.l_linger == 0;
    atomic_fetch_or(&own->state, VN_FIN | VN_CLOSED | (unread || abort ? VN_RESET : 0));
    bell_ring_if_wanted(conn, fd, VN_WANT_DATA);
    if (conn->kept >= 0 && conn->phase == VN_DIRECT) {
        /* Its handshake has served its purpose; a reset costs one frame and leaves no TIME_WAIT. */
        linger = (struct linger){1, 0};
        real_setsockopt(conn->kept, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    }
}

/* What fd meant is over; the kernel's descriptor is still there. */
static void let_go(int fd) {
    epoll_forget(fd);
    struct entry *entry = entry_hold(fd);
    if (entry == NULL)
        return;
    struct entry *cleared = withdraw_closed(fd);
    if (cleared != NULL)
        entry_release(cleared);   /* the table's reference; ours is still there */
    if (entry->kind == VN_CONN)
        say_goodbye((struct conn *)entry, fd);
    entry_release(entry);
}

static inline bool in_vfork_child(void) {
    return getpid() != vn_pid;   /* it shares our memory: the tables are the parent's */
}

EXPORT int close(int fd) {
    READY();
    if (UNLIKELY(is_hidden(fd)) && !in_vfork_child()) {
        errno = EBADF;
        return -1;
    }
    if (UNLIKELY(vn_table != NULL && fd <= vn_highest) && !in_vfork_child())
        let_go(fd);
    return real_close(fd);
}

/* `fd` has become a duplicate of `from`. */
static int duplicated(int from, int fd) {
    if (fd >= 0 && fd != from && entry_of(from) != NULL && !in_vfork_child()) {
        struct entry *entry = entry_hold(from);
        if (entry != NULL)
            entry_set(fd, entry);
    }
    return fd;
}

EXPORT int dup(int fd) {
    READY();
    return duplicated(fd, real_dup(fd));
}

static int dup_onto(int fd, int onto, int flags, bool two) {
    READY();
    /* The C library's stdio writes to these by calls that can't be taken over: bash does it with /dev/tcp. */
    if (onto >= 0 && onto <= STDERR_FILENO && onto != fd && conn_of(fd) != NULL && !in_vfork_child())
        relay_replace(fd);
    if (fd != onto && onto >= 0 && onto <= vn_highest && !in_vfork_child() && real_fcntl(fd, F_GETFD) >= 0)
        let_go(onto);
    return duplicated(fd, two ? real_dup2(fd, onto) : real_dup3(fd, onto, flags));
}

EXPORT int dup2(int fd, int onto) {
    return dup_onto(fd, onto, 0, true);
}

EXPORT int dup3(int fd, int onto, int flags) {
    return dup_onto(fd, onto, flags, false);
}

EXPORT int close_range(unsigned first, unsigned last, int flags) {
    READY();
    if (vn_table == NULL || (flags & CLOSE_RANGE_CLOEXEC) || in_vfork_child())
        return (int)syscall(SYS_close_range, first, last, flags);
    if (first > last)
        return (int)syscall(SYS_close_range, first, last, flags);
    unsigned from = first;
    for (unsigned fd = first; fd <= last && fd < VN_MAX_FD; fd++) {   /* the provider's own stay open */
        if (is_hidden((int)fd)) {
            if (fd > from)
                syscall(SYS_close_range, from, fd - 1, flags);
            from = fd + 1;
        } else if ((int)fd <= vn_highest) {
            let_go((int)fd);
        }
    }
    return from <= last ? (int)syscall(SYS_close_range, from, last, flags) : 0;
}

EXPORT void closefrom(int first) {
    close_range(first < 0 ? 0 : (unsigned)first, ~0u, 0);
}

static int fcntl_any(int fd, int command, void *argument) {
    READY();
    int result = real_fcntl(fd, command, argument);
    if (result < 0 || entry_of(fd) == NULL)
        return result;
    if (command == F_DUPFD || command == F_DUPFD_CLOEXEC)
        return duplicated(fd, result);
    struct conn *conn = command == F_SETFL ? conn_hold(fd) : NULL;
    if (conn != NULL) {
        conn->nonblocking = ((uintptr_t)argument & O_NONBLOCK) != 0;   /* the other end can change what F_GETFL tells */
        conn_release(conn);
    }
    return result;
}

EXPORT int fcntl(int fd, int command, ...) {
    va_list arguments;
    va_start(arguments, command);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    return fcntl_any(fd, command, argument);
}

EXPORT int fcntl64(int fd, int command, ...) {
    va_list arguments;
    va_start(arguments, command);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    return fcntl_any(fd, command, argument);
}

EXPORT int ioctl(int fd, unsigned long request, ...) {
    va_list arguments;
    va_start(arguments, request);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    READY();
    struct conn *conn = conn_hold(fd);
    if (conn == NULL)
        return real_ioctl(fd, request, argument);
    int result = 0;
    if (conn->phase == VN_PLAIN)
        result = real_ioctl(fd, request, argument);
    else if (request == FIONREAD)
        *(int *)argument = (int)stream_readable(conn);
    else if (request == TIOCOUTQ)
        *(int *)argument = (int)(conn->own->head - (conn->peer != NULL ? conn->peer->tail : 0));
    else if (request == FIONBIO) {
        result = real_ioctl(fd, request, argument);
        conn->nonblocking = result == 0 ? *(int *)argument != 0 : conn->nonblocking;
    } else
        result = real_ioctl(request == FIOCLEX || request == FIONCLEX ? fd : conn_option(conn), request, argument);
    conn_release(conn);
    return result;
}
