/* The hooks of poll, select and epoll: straight to the kernel where no descriptor is known to the library. */
#include <sys/resource.h>

#include "base/process.h"
#include "base/real.h"
#include "base/signals.h"
#include "fdtable/entry.h"
#include "fdtable/hidden.h"
#include "fdtable/marks.h"
#include "hooks/numbers.h"
#include "multiplex/epoll.h"
#include "multiplex/poll.h"
#include "multiplex/select.h"
#include "wait/sleeper.h"
#include "watch/control.h"
#include "watch/registry.h"

#define RECENT 10 /* times ticks_few */

static bool too_many(nfds_t count) { /* the kernel's EINVAL; and no access beyond what the program has */
    struct rlimit limit;
    return count > 1024 && getrlimit(RLIMIT_NOFILE, &limit) == 0 && count > limit.rlim_cur;
}

EXPORT int poll(struct pollfd *fds, nfds_t count, int ms) {
    READY();
    if (LIKELY(entry_highest < 0) || too_many(count) || LIKELY(!poll_has_direct(fds, count)))
        return real_poll(fds, count, ms);
    return poll_direct(fds, count, ms < 0 ? FOR_EVER : (uint64_t)ms * MILLISECOND_NS, NULL);
}

EXPORT int __poll(struct pollfd *fds, nfds_t count, int ms) {
    return poll(fds, count, ms);
}

EXPORT int ppoll(struct pollfd *fds, nfds_t count, const struct timespec *time, const sigset_t *mask) {
    READY();
    if (LIKELY(entry_highest < 0) || !is_time(time) || is_bad_option(mask) || too_many(count) ||
        LIKELY(!poll_has_direct(fds, count)))
        return real_ppoll(fds, count, time, mask);
    return poll_direct(fds, count, time_ns(time), mask);
}

extern void __chk_fail(void) __attribute__((noreturn));

EXPORT int __poll_chk(struct pollfd *fds, nfds_t count, int ms, size_t bytes) {
    if (bytes / sizeof(*fds) < count)
        __chk_fail();
    return poll(fds, count, ms);
}

EXPORT int __ppoll_chk(struct pollfd *fds, nfds_t count, const struct timespec *time, const sigset_t *mask,
                       size_t bytes) {
    if (bytes / sizeof(*fds) < count)
        __chk_fail();
    return ppoll(fds, count, time, mask);
}

EXPORT int select(int count, fd_set *reads, fd_set *writes, fd_set *excepts, struct timeval *time) {
    READY();
    return select_any(count, reads, writes, excepts, time);
}

EXPORT int __select(int count, fd_set *reads, fd_set *writes, fd_set *excepts, struct timeval *time) {
    return select(count, reads, writes, excepts, time);
}

EXPORT int pselect(int count, fd_set *reads, fd_set *writes, fd_set *excepts, const struct timespec *time,
                   const sigset_t *mask) {
    READY();
    return pselect_any(count, reads, writes, excepts, time, mask);
}

/* A stranger's number must not be taken for a connection. But some programs take one out and put it back with every
 * message, and what was a connection a moment ago still is. */
static void check(int fd) {
    struct conn *conn = conn_hold(fd);
    if (LIKELY(conn == NULL))
        return;
    bool was_there = atomic_load_explicit(&conn->parked, memory_order_relaxed) == fd &&
                     ticks_now() - atomic_load_explicit(&conn->parked_at, memory_order_relaxed) < RECENT * ticks_few();
    conn_release(conn);
    if (!was_there && (conn = conn_hold_checked(fd)) != NULL)
        conn_release(conn);
}

/* For one that is connected by TCP, all is the kernel's: programs call this with each message. */
static int control_settled(int epfd, int op, int fd, struct epoll_event *event) {
    if (UNLIKELY(is_hidden(epfd))) {
        errno = EBADF;
        return -1;
    }
    if (!is_marked(fd, MARK_WATCHED))
        mark_set(fd, MARK_WATCHED);
    return real_epoll_ctl(epfd, op, fd, event);
}

EXPORT int epoll_ctl(int epfd, int op, int fd, struct epoll_event *event) {
    READY();
    if (is_marked(fd, MARK_SETTLED) && entry_of(fd) == NULL)
        return control_settled(epfd, op, fd, event);
    HANDLERS_WAIT();
    struct conn *conn;
    if (op == EPOLL_CTL_ADD)
        check(fd);
    if (UNLIKELY(!atomic_load_explicit(&epoll_waits_seen, memory_order_relaxed)) && op != EPOLL_CTL_ADD &&
        (op == EPOLL_CTL_DEL || (!is_bad(event) && !(event->events & EPOLLOUT))) && (conn = conn_hold(fd)) != NULL) {
        number_is_waited_unseen(conn, fd); /* nobody wants to know any more whether it is connected */
        conn_release(conn);
    }
    return control(epfd, op, fd, event);
}

EXPORT int epoll_wait(int epfd, struct epoll_event *events, int room, int ms) {
    READY();
    return epoll_wait_ms(epfd, events, room, ms, NULL);
}

EXPORT int epoll_pwait(int epfd, struct epoll_event *events, int room, int ms, const sigset_t *mask) {
    READY();
    return epoll_wait_ms(epfd, events, room, ms, mask);
}

EXPORT int epoll_pwait2(int epfd, struct epoll_event *events, int room, const struct timespec *time,
                        const sigset_t *mask) {
    READY();
    return epoll_wait_fine(epfd, events, room, time, mask);
}
