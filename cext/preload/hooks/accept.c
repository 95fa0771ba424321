/* listen and accept: what the kernel accepts becomes direct, if its client has offered that. */
#include <string.h>
#include <unistd.h>

#include "base/process.h"
#include "base/real.h"
#include "base/signals.h"
#include "base/sockaddr.h"
#include "discovery/client.h"
#include "discovery/policy.h"
#include "fdtable/hidden.h"
#include "fdtable/limit.h"
#include "fdtable/marks.h"
#include "handshake/answer.h"
#include "handshake/listener.h"
#include "handshake/progress.h"
#include "hooks/numbers.h"
#include "memory/report.h"
#include "watch/registry.h"

EXPORT int listen(int fd, int backlog) {
    int saved = errno;
    READY();
    struct listener *listener = listener_begin(fd);
    errno = saved;
    int result = real_listen(fd, backlog);
    if (result == 0 && listener != NULL)
        listener_enter(fd, listener);
    else if (result == 0)
        listener_adopt(fd); /* its name came with it */
    else if (listener != NULL)
        entry_release(&listener->entry);
    return result;
}

/* The program waits for connections by instructions that the library cannot see, see watch/registry.h. A listener that
 * blocks may be in an epoll for nothing, as in Apache's prefork. */
static bool is_waited_unseen(int fd) {
    return !atomic_load(&epoll_waits_seen) && epoll_watches(fd) && (real_fcntl(fd, F_GETFL) & O_NONBLOCK);
}

/* Its client falls back at once. */
static void close_offer(int doorbell, int memfd) {
    quiet_close(doorbell);
    quiet_close(memfd);
}

static void upgrade(int accepting, int fd, const struct listener *listener, const struct sockaddr *name,
                    socklen_t length) {
    struct vn_address local, remote;
    int doorbell, memfd, family;
    if (policy_is_sealed() || fd <= STDERR_FILENO || fd >= MAX_FD || !hidden_has_room(fd) || !broker_has_offers() ||
        process_is_borrowed() || !address_from(&remote, name, length) || !address_of_socket(fd, &local, &family))
        return;
    if (!broker_take(&remote, &local, fd, &doorbell, &memfd)) {
        report(VN_REASON_no_offer, &remote, fd);
        return;
    }
    if (UNLIKELY(is_waited_unseen(accepting))) {
        close_offer(doorbell, memfd);
        report(VN_REASON_waits_unseen, &remote, fd);
        return;
    }
    struct conn *conn = answer(doorbell, memfd, &local, &remote, fd);
    report(conn != NULL ? VN_REASON_direct : VN_REASON_fell_back, &remote, fd); /* or there is no memory: rarely */
    if (conn == NULL)
        return;
    conn->family = listener->family;
    entry_set(fd, &conn->entry);
    conn_release(conn);
}

/* The listener that fd is, held; it may have been inherited from a process without the library. */
static struct listener *listener_of(int fd) {
    struct entry *entry = entry_hold(fd);
    if (entry == NULL) {
        listener_adopt(fd);
        entry = entry_hold(fd);
    }
    if (entry == NULL || entry->kind == ENTRY_LISTENER)
        return (struct listener *)entry;
    entry_release(entry);
    return NULL;
}

static int accept_any(int fd, struct sockaddr *name, socklen_t *length, int flags) {
    struct sockaddr_storage far;
    socklen_t room = sizeof(far);
    READY();
    if (UNLIKELY(entry_of(fd) == NULL))
        listener_adopt(fd); /* it was inherited: clients are to know of it before the first has connected */
    progress_before_sleep();
    if (UNLIKELY(limit_forbids_one_more(fd))) { /* before the connection is taken off the backlog */
        errno = EMFILE;
        return -1;
    }
    /* The kernel does the waiting: it knows which signals restart it, and that the thread may be cancelled. */
    int result = real_accept4(fd, (struct sockaddr *)&far, &room, flags);
    if (result < 0)
        return result;
    int saved = errno;
    HANDLERS_WAIT();
    if (UNLIKELY(number_made(result) < 0))
        return -1;
    if (UNLIKELY(is_marked(fd, MARK_PLAIN))) {
        mark_set(result, MARK_PLAIN);
    } else {
        struct listener *listener = listener_of(fd);
        if (listener != NULL) {
            upgrade(fd, result, listener, (struct sockaddr *)&far, room);
            listener_announce(listener); /* it may have come by TCP because nobody knows of us */
            entry_release(&listener->entry);
        }
    }
    if (entry_of(result) == NULL)
        mark_set(result, MARK_SETTLED);
    if (name != NULL && length != NULL) {
        memcpy(name, &far, *length < room ? *length : room);
        *length = room;
    }
    errno = saved;
    return result;
}

/* The kernel finds out that there is no room for the name when it has accepted, and closes the connection. */
static int accept_without_room(int fd, int flags, int error) {
    int result = accept_any(fd, NULL, NULL, flags);
    if (result < 0)
        return result;
    close(result);
    errno = error;
    return -1;
}

static int accept_checked(int fd, struct sockaddr *name, socklen_t *length, int flags) {
    if (UNLIKELY(name != NULL && is_bad(length)))
        return accept_without_room(fd, flags, EFAULT);
    if (UNLIKELY(name != NULL && (int)*length < 0))
        return accept_without_room(fd, flags, EINVAL);
    if (UNLIKELY(name != NULL && is_bad(name) && *length != 0))
        return accept_without_room(fd, flags, EFAULT);
    return accept_any(fd, name, length, flags);
}

EXPORT int accept(int fd, struct sockaddr *name, socklen_t *length) {
    return accept_checked(fd, name, length, 0);
}

EXPORT int accept4(int fd, struct sockaddr *name, socklen_t *length, int flags) {
    return accept_checked(fd, name, length, flags);
}
