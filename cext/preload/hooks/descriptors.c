/* Descriptors come and go: close, dup, fcntl, ioctl. */
#include <linux/close_range.h>
#include <linux/sockios.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/process.h"
#include "base/real.h"
#include "base/signals.h"
#include "fdtable/hidden.h"
#include "fdtable/limit.h"
#include "fdtable/marks.h"
#include "handshake/progress.h"
#include "hooks/numbers.h"
#include "relay/relay.h"
#include "stream/doorbell.h"
#include "stream/ring.h"

EXPORT int close(int fd) {
    READY();
    if (UNLIKELY(is_hidden(fd))) {
        errno = EBADF;
        return -1;
    }
    if (LIKELY(!number_is_known(fd)))
        return real_close(fd);
    HANDLERS_WAIT(); /* one that jumps finds it open, or closed */
    number_let_go(fd);
    return real_close(fd);
}

EXPORT int __close(int fd) {
    return close(fd);
}

EXPORT int dup(int fd) {
    READY();
    return number_copied(fd, real_dup(fd));
}

static int dup_onto(int fd, int onto, int flags, bool two) {
    READY();
    if (UNLIKELY(limit_is_reached(onto))) {
        errno = EBADF;
        return -1;
    }
    if (UNLIKELY(is_hidden(onto)) && !process_is_borrowed()) {
        errno = EBUSY; /* the library's own has the number */
        return -1;
    }
    HANDLERS_WAIT();
    if (fd != onto && onto >= 0 && real_fcntl(fd, F_GETFD) >= 0)
        number_let_go(onto);
    return number_copied(fd, two ? real_dup2(fd, onto) : real_dup3(fd, onto, flags));
}

EXPORT int dup2(int fd, int onto) {
    return dup_onto(fd, onto, 0, true);
}

EXPORT int __dup2(int fd, int onto) {
    return dup_onto(fd, onto, 0, true);
}

EXPORT int dup3(int fd, int onto, int flags) {
    return dup_onto(fd, onto, flags, false);
}

/* Without the library's own. A child of vfork needs them as well, until its exec closes them: see hooks/exec.c. */
static int close_numbers(unsigned first, unsigned last, unsigned flags) {
    unsigned from = first;
    for (unsigned fd = first; fd <= last && fd < MAX_FD; fd++) {
        if (is_hidden((int)fd)) {
            if (fd > from)
                real_syscall(SYS_close_range, from, fd - 1, flags);
            from = fd + 1;
        } else {
            number_let_go((int)fd);
        }
    }
    return from <= last ? (int)real_syscall(SYS_close_range, from, last, flags) : 0;
}

EXPORT int close_range(unsigned first, unsigned last, int flags) {
    READY();
    if (entry_table == NULL || (flags & CLOSE_RANGE_CLOEXEC) || first > last)
        return (int)real_syscall(SYS_close_range, first, last, flags);
    return close_numbers(first, last, (unsigned)flags);
}

EXPORT void closefrom(int first) {
    close_range(first < 0 ? 0 : (unsigned)first, ~0u, 0);
}

static void flags_set(struct conn *conn, int fd, int flags) {
    atomic_store(&conn->own->nonblocking, (flags & O_NONBLOCK) != 0);
    doorbell_want_signals(conn, fd, (flags & O_ASYNC) != 0);
}

static void owner_set(struct conn *conn, int fd) {
    if (conn->wants_signals) {
        doorbell_want_signals(conn, fd, false);
        doorbell_want_signals(conn, fd, true);
    }
}

/* A signal that says which descriptor it is for would name the doorbell. A relay's end is a socket of the kernel's. */
static int set_signal(int fd, int number) {
    struct f_owner_ex owner;
    int flags = real_fcntl(fd, F_GETFL);
    bool owned = real_fcntl(fd, F_GETOWN_EX, &owner) == 0;
    if (number == 0 || relay_replace(fd) != 0)
        return real_fcntl(fd, F_SETSIG, number);
    if (owned)
        real_fcntl(fd, F_SETOWN_EX, &owner);
    int result = real_fcntl(fd, F_SETSIG, number);
    if (flags & O_ASYNC)
        real_fcntl(fd, F_SETFL, flags);
    return result;
}

static bool is_of_signals(int command) {
    return command == F_SETOWN || command == F_SETOWN_EX || command == F_SETSIG;
}

static int fcntl_any(int fd, int command, void *argument) {
    READY();
    bool copies = command == F_DUPFD || command == F_DUPFD_CLOEXEC;
    if (UNLIKELY(copies && limit_is_reached((int)(intptr_t)argument))) {
        errno = EINVAL;
        return -1;
    }
    int result = real_fcntl(fd, command, argument);
    if (result < 0)
        return result;
    if (copies)
        return number_copied(fd, result);
    if (command == F_SETSIG && argument != NULL && entry_of(fd) == NULL)
        mark_set(fd, MARK_PLAIN); /* before it connects: see set_signal */
    if (LIKELY(entry_of(fd) == NULL) || (command != F_SETFL && !is_of_signals(command)))
        return result;
    HANDLERS_WAIT();
    struct conn *conn = conn_hold_checked(fd);
    if (conn != NULL) {
        if (command == F_SETFL)
            flags_set(conn, fd, (int)(uintptr_t)argument);
        else if (command == F_SETSIG)
            result = set_signal(fd, (int)(uintptr_t)argument);
        else
            owner_set(conn, fd);
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

EXPORT int __fcntl(int fd, int command, ...) {
    va_list arguments;
    va_start(arguments, command);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    return fcntl_any(fd, command, argument);
}

static int ioctl_direct(struct conn *conn, int fd, unsigned long request, void *argument) {
    switch (request) {
    case FIONREAD: *(int *)argument = (int)stream_readable(conn); return 0;
    case TIOCOUTQ: *(int *)argument = (int)stream_not_arrived(conn); return 0;
    case SIOCOUTQNSD: *(int *)argument = 0; return 0;
    default: break;
    }
    int result = real_ioctl(fd, request, argument);
    if (result == 0 && request == FIONBIO)
        atomic_store(&conn->own->nonblocking, *(int *)argument != 0);
    if (result == 0 && request == FIOASYNC)
        doorbell_want_signals(conn, fd, *(int *)argument != 0);
    if (result == 0 && (request == FIOSETOWN || request == SIOCSPGRP))
        owner_set(conn, fd);
    return result;
}

EXPORT int ioctl(int fd, ioctl_request request, ...) {
    va_list arguments;
    va_start(arguments, request);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    READY();
    if (LIKELY(conn_of(fd) == NULL))
        return real_ioctl(fd, request, argument);
    HANDLERS_WAIT();
    struct conn *conn = conn_hold_checked(fd);
    if (conn == NULL)
        return real_ioctl(fd, request, argument);
    if (conn_phase(conn) < CONN_DIRECT)
        progress_serve(conn, fd);
    bool own = conn_phase(conn) != CONN_PLAIN && !is_bad(argument);
    int result = own ? ioctl_direct(conn, fd, request, argument) : real_ioctl(fd, request, argument);
    conn_release(conn);
    return result;
}
