/* What epoll_ctl does to an entry, and what happens to it when its descriptor becomes something else. */
#include "watch/control.h"

#include "base/real.h"
#include "base/settings.h"
#include "base/signals.h"
#include "fdtable/hidden.h"
#include "watch/active.h"
#include "watch/watch.h"

#define EXCLUSIVE_MAY (EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP | EPOLLWAKEUP | EPOLLET | EPOLLEXCLUSIVE)

static void add_nested(struct epoll *epoll, struct watched *watched, struct entry *entry) {
    if (entry->kind != ENTRY_EPOLL)
        return;
    ((struct epoll *)entry)->nested = true;
    epoll_nest(epoll, watched);
    epoll_tag(epoll, watched);
}

static void remove_nested(struct epoll *epoll, struct watched *watched) {
    if (watched->nested)
        epoll->nests--;
    watched->nested = false;
}

static bool is_conn(const struct entry *entry) {
    return entry->kind == ENTRY_CONN && conn_phase((const struct conn *)entry) != CONN_PLAIN;
}

static int fail(int error) {
    errno = error;
    return -1;
}

/* Other events for one that is watched, or was; what is true is reported again. */
static void renew(struct epoll *epoll, struct watched *watched, const struct epoll_event *event) {
    epoll_record(epoll, watched->fd, event);
    watched->seen = 0;
    watched->seen_head = watched->seen_tail = 0;
    atomic_store(&watched->conn->notified_head, UINT64_MAX);
    watch_activate(watched);
    watch_kick(epoll);
}

/* Takes over the reference to conn. */
static int control_direct(struct epoll *epoll, int epfd, int op, int fd, struct epoll_event *event, struct conn *conn) {
    struct watched *watched = epoll_find(epoll, fd);
    int error = 0;
    if (watched != NULL && watched->conn != conn && !watched->away) { /* closed without our knowledge */
        remove_nested(epoll, watched);
        unwatch(watched, false);
        epoll_drop(epoll, watched);
        watched = NULL;
    }
    bool there = watched != NULL && !watched->parked;
    if (op == EPOLL_CTL_ADD) {
        if (there)
            error = EEXIST;
        else if (event->events & EPOLLEXCLUSIVE && event->events & ~EXCLUSIVE_MAY)
            error = EINVAL;
        else if (!epoll_prepare(epoll, epfd))
            error = errno == EMFILE || errno == ENFILE ? ENOMEM : errno; /* epoll_ctl knows no EMFILE */
        else if (watched != NULL)
            renew(epoll, watched, event);
        else if ((watched = epoll_record(epoll, fd, event)) == NULL)
            error = ENOMEM;
        else if (watch(epoll, watched, conn) == 0)
            return 0;
        else {
            error = errno;
            epoll_drop(epoll, watched);
            return fail(error); /* watch has released conn */
        }
    } else if (op == EPOLL_CTL_MOD) {
        if (!there)
            error = ENOENT;
        else if ((event->events | watched->events) & EPOLLEXCLUSIVE)
            error = EINVAL;
        else
            renew(epoll, watched, event);
    } else if (!there) {
        error = ENOENT;
    } else {
        watch_park(watched);
        atomic_store_explicit(&conn->parked_at, ticks_now(), memory_order_relaxed);
        atomic_store_explicit(&conn->parked, fd, memory_order_relaxed);
    }
    conn_release(conn);
    return error == 0 ? 0 : fail(error);
}

static void control_plain(struct epoll *epoll, int op, int fd, struct epoll_event *event, struct entry *entry) {
    struct watched *watched = epoll_find(epoll, fd);
    if (watched != NULL && watched->conn != NULL) /* closed without our knowledge */
        unwatch(watched, false);
    if (op == EPOLL_CTL_DEL) {
        if (watched != NULL) {
            remove_nested(epoll, watched);
            epoll_drop_plain(epoll, watched);
        }
        return;
    }
    if (op == EPOLL_CTL_ADD && watched != NULL)
        remove_nested(epoll, watched);
    watched = epoll_record(epoll, fd, event); /* without memory: it is not followed when it becomes direct */
    if (watched != NULL && UNLIKELY(entry != NULL)) {
        watched->seen_head = watched->seen = 0;
        add_nested(epoll, watched, entry);
    }
}

/* For a descriptor that the kernel watches, or has to from now on: see rejoin. */
static int control_kernel(struct epoll *epoll, int epfd, int op, int fd, struct epoll_event *event) {
    struct watched *watched = epoll_find(epoll, fd);
    if (LIKELY(watched == NULL || !watched->absent))
        return real_epoll_ctl(epfd, op, fd, event);
    if (op == EPOLL_CTL_ADD)
        return fail(EEXIST);
    int result = op == EPOLL_CTL_DEL ? 0 : real_epoll_ctl(epfd, EPOLL_CTL_ADD, fd, event);
    if (result == 0)
        watched->absent = false;
    return result;
}

static void leave(struct epoll *epoll, struct watched *watched);
static void rejoin(struct epoll *epoll, struct watched *watched);

/* One that the kernel has watched until now, see epoll_waits_seen. */
static void take_over(struct epoll *epoll, struct watched *watched) {
    int fd = watched->fd;
    if (watched->conn != NULL || watched->nested || watched->away)
        return;
    leave(epoll, watched);
    if ((watched = epoll_find(epoll, fd)) != NULL) /* it is not one that was closed without our knowledge */
        rejoin(epoll, watched);
}

void watch_first_wait(void) {
    int saved = errno;
    if (atomic_exchange(&epoll_waits_seen, true))
        return;
    for (int fd = 0; fd <= atomic_load(&entry_highest); fd++) {
        struct entry *entry = entry_of(fd);
        if (entry != NULL)
            epoll_each(fd, entry->kind == ENTRY_CONN ? take_over : epoll_tag);
    }
    errno = saved;
}

/* Whether the kernel is to watch it: the program waits for TCP to connect, perhaps by its own instructions. */
static bool is_early(struct epoll *epoll, int op, int fd, const struct epoll_event *event, struct conn *conn) {
    if (conn_phase(conn) >= CONN_DIRECT)
        return false;
    bool begins = op == EPOLL_CTL_ADD && conn_phase(conn) == CONN_CONNECTING && (event->events & EPOLLOUT);
    if (epoll == NULL)
        return begins;
    mutex_lock(&epoll->lock);
    const struct watched *watched = epoll_find(epoll, fd);
    bool known = watched != NULL, early = known && watched->conn == NULL && !watched->away;
    mutex_unlock(&epoll->lock);
    return early || (begins && !known);
}

int control(int epfd, int op, int fd, struct epoll_event *event) {
    if (settings.off || op < EPOLL_CTL_ADD || op > EPOLL_CTL_MOD || (op != EPOLL_CTL_DEL && is_bad(event)))
        return real_epoll_ctl(epfd, op, fd, event);
    if (UNLIKELY(is_hidden(fd) || is_hidden(epfd))) /* the library's own: the program has no such descriptor */
        return fail(EBADF);
    struct entry *entry = entry_hold(fd);
    struct conn *conn = entry != NULL && is_conn(entry) ? (struct conn *)entry : NULL;
    struct epoll *epoll = epoll_hold(epfd);
    struct conn *early = NULL; /* held by its entry */
    if (UNLIKELY(!atomic_load(&epoll_waits_seen)) && conn != NULL && is_early(epoll, op, fd, event, conn)) {
        early = conn;
        conn = NULL;
    }
    int result = 0, saved = errno;
    if (epoll == NULL && conn != NULL) { /* is it an epoll? Its doorbell is certainly not in it */
        struct epoll_event none = {0};
        if (real_epoll_ctl(epfd, EPOLL_CTL_MOD, fd, &none) != 0 && errno != ENOENT)
            result = -1;
        else
            errno = saved;
    }
    if (result == 0 && epoll == NULL && conn == NULL)
        result = real_epoll_ctl(epfd, op, fd, event);
    bool asked = epoll == NULL && conn == NULL;
    if (result == 0 && epoll == NULL && (epoll = epoll_make(epfd)) == NULL && conn != NULL)
        result = fail(ENOMEM);
    if (result == 0 && epoll != NULL) {
        mutex_lock(&epoll->lock);
        epoll->outer = epfd;
        if (conn != NULL) {
            struct watched *watched = epoll_find(epoll, fd);
            if (UNLIKELY(watched != NULL && watched->conn == NULL))
                take_over(epoll, watched);
            result = control_direct(epoll, epfd, op, fd, event, conn);
            entry = NULL;
        } else if (asked || (result = control_kernel(epoll, epfd, op, fd, event)) == 0) {
            control_plain(epoll, op, fd, event, entry);
        }
        mutex_unlock(&epoll->lock);
    }
    if (early != NULL && result == 0)
        early->early = true;
    if (epoll != NULL) {
        int error = errno;
        epoll_release(epoll);
        errno = error;
    }
    if (entry != NULL) {
        int error = errno;
        entry_release(entry);
        errno = error;
    }
    return result;
}

static void leave(struct epoll *epoll, struct watched *watched) {
    int outer = epoll_outer(epoll);
    if (watched->parked) {
        unwatch(watched, true);
        epoll_drop(epoll, watched);
        return;
    }
    watched->away = true;
    if (watched->conn != NULL) {
        unwatch(watched, true);
    } else {
        remove_nested(epoll, watched);
        if (!watched->absent && real_epoll_ctl(outer, EPOLL_CTL_DEL, watched->fd, NULL) != 0)
            epoll_drop(epoll, watched); /* another one, closed without our knowledge */
    }
}

static void rejoin(struct epoll *epoll, struct watched *watched) {
    int outer = epoll_outer(epoll);
    struct entry *entry = entry_hold(watched->fd);
    if (!watched->away) {
        if (entry != NULL)
            entry_release(entry);
        return;
    }
    watched->away = false;
    watched->seen = 0;
    if (entry != NULL && is_conn(entry) && epoll_prepare(epoll, outer)) {
        watch(epoll, watched, (struct conn *)entry);
        return;
    }
    struct epoll_event event = {watched->events, watched->data};
    watched->absent = watched->disabled; /* added with EPOLLONESHOT alone it would report EPOLLHUP */
    if (!watched->absent)
        real_epoll_ctl(outer, EPOLL_CTL_ADD, watched->fd, &event);
    if (entry != NULL) {
        add_nested(epoll, watched, entry);
        entry_release(entry);
    }
}

/* The kernel forgets by itself what is closed for good. */
static void forget(struct epoll *epoll, struct watched *watched) {
    remove_nested(epoll, watched);
    unwatch(watched, false);
    epoll_drop(epoll, watched);
}

static void forget_number(struct epoll *epoll, struct watched *watched) {
    if (watched->conn != NULL && !watched->parked)
        epoll_orphan(epoll, watched);
    else
        forget(epoll, watched);
}

void watch_leave(int fd) {
    int saved = errno;
    epoll_each(fd, leave);
    errno = saved;
}

void watch_rejoin(int fd) {
    int saved = errno;
    epoll_each(fd, rejoin);
    errno = saved;
}

void watch_forget(int fd, struct conn *conn, bool last) {
    int saved = errno;
    epoll_each(fd, conn != NULL && !last ? forget_number : forget);
    if (conn != NULL && last && conn->watchers != 0)
        epoll_each_orphan(conn, forget);
    errno = saved;
}
