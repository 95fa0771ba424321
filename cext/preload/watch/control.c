/* epoll_ctl, and what happens to an epoll's entry when its descriptor becomes something else. */
#include "epoll.h"

#define EXCLUSIVE_MAY (EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP | EPOLLWAKEUP | EPOLLET | EPOLLEXCLUSIVE)

/* A listener's door stands in the program's epoll under the program's own data: the kernel does the rest. */
static void add_door(struct epoll *epoll, struct watched *watched, struct entry *entry, int epfd) {
    struct epoll_event event = {watched->events, watched->data};
    int saved = errno, door = entry->kind == VN_LISTENER ? listener_door(entry) : -1;
    if (entry->kind != VN_LISTENER && entry->kind != VN_EPOLL)
        return;
    if (entry->kind == VN_EPOLL)
        ((struct epoll *)entry)->nested = true;
    if (door >= 0 && (real_epoll_ctl(epfd, EPOLL_CTL_ADD, door, &event) == 0 ||
                      (errno == EEXIST && real_epoll_ctl(epfd, EPOLL_CTL_MOD, door, &event) == 0)))
        watched->door = door;
    if (!watched->other && (door >= 0 || entry->kind == VN_EPOLL)) {
        watched->other = true;
        epoll->others++;
        atomic_store(&epoll->direct, true);
    }
    errno = saved;
}

static void remove_door(struct epoll *epoll, struct watched *watched, int epfd) {
    int saved = errno;
    if (watched->door >= 0)
        real_epoll_ctl(epfd, EPOLL_CTL_DEL, watched->door, NULL);
    watched->door = -1;
    if (watched->other)
        epoll->others--;
    watched->other = false;
    errno = saved;
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
    atomic_store(&watched->conn->told_head, UINT64_MAX);
    watch_activate(watched);
    watch_kick(epoll);
}

/* Takes over the reference to conn. */
static int control_direct(struct epoll *epoll, int epfd, int op, int fd, struct epoll_event *event, struct conn *conn) {
    struct watched *watched = epoll_find(epoll, fd);
    int error = 0;
    if (watched != NULL && watched->conn != conn && !watched->away) {   /* closed without our knowledge */
        remove_door(epoll, watched, epfd);
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
            error = errno == EMFILE || errno == ENFILE ? ENOMEM : errno;   /* epoll_ctl knows no EMFILE */
        else if (watched != NULL)
            renew(epoll, watched, event);
        else if ((watched = epoll_record(epoll, fd, event)) == NULL)
            error = ENOMEM;
        else if (watch(epoll, watched, conn) == 0)
            return 0;
        else {
            error = errno;
            epoll_drop(epoll, watched);
            return fail(error);   /* watch has released conn */
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
    }
    conn_release(conn);
    return error == 0 ? 0 : fail(error);
}

static void control_plain(struct epoll *epoll, int epfd, int op, int fd, struct epoll_event *event, struct entry *entry) {
    struct watched *watched = epoll_find(epoll, fd);
    if (watched != NULL && watched->conn != NULL)   /* closed without our knowledge */
        unwatch(watched, false);
    if (op == EPOLL_CTL_DEL) {
        if (watched != NULL) {
            remove_door(epoll, watched, epfd);
            epoll_drop(epoll, watched);
        }
        return;
    }
    if (op == EPOLL_CTL_ADD && watched != NULL)
        remove_door(epoll, watched, epfd);
    watched = epoll_record(epoll, fd, event);   /* without memory: it is not followed when it becomes direct */
    if (watched != NULL && UNLIKELY(entry != NULL)) {
        watched->seen = 0;
        add_door(epoll, watched, entry, epfd);
    }
}

EXPORT int epoll_ctl(int epfd, int op, int fd, struct epoll_event *event) {
    READY();
    if (vn_settings.off || op < EPOLL_CTL_ADD || op > EPOLL_CTL_MOD || (op != EPOLL_CTL_DEL && event == NULL))
        return real_epoll_ctl(epfd, op, fd, event);
    if (UNLIKELY(is_hidden(fd) || is_hidden(epfd)))   /* the provider's own: the program has no such descriptor */
        return fail(EBADF);
    struct entry *entry = entry_hold(fd);
    struct conn *conn = entry != NULL && is_direct(entry) ? (struct conn *)entry : NULL;
    struct epoll *epoll = epoll_hold(epfd);
    int result = 0, saved = errno;
    if (epoll == NULL && conn != NULL) {   /* is it an epoll? Its bell is certainly not in it */
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
        pthread_mutex_lock(&epoll->lock);
        epoll->outer = epfd;
        if (conn != NULL) {
            result = control_direct(epoll, epfd, op, fd, event, conn);
            entry = NULL;
        } else if (asked || (result = real_epoll_ctl(epfd, op, fd, event)) == 0) {
            control_plain(epoll, epfd, op, fd, event, entry);
        }
        pthread_mutex_unlock(&epoll->lock);
    }
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
        remove_door(epoll, watched, outer);
        if (real_epoll_ctl(outer, EPOLL_CTL_DEL, watched->fd, NULL) != 0)   /* another one, closed without our knowledge */
            epoll_drop(epoll, watched);
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
    if (entry != NULL && is_direct(entry) && epoll_prepare(epoll, outer)) {
        watch(epoll, watched, (struct conn *)entry);
        return;
    }
    struct epoll_event event = {watched->disabled ? EPOLLONESHOT : watched->events, watched->data};
    real_epoll_ctl(outer, EPOLL_CTL_ADD, watched->fd, &event);
    if (entry != NULL) {
        add_door(epoll, watched, entry, outer);
        entry_release(entry);
    }
}

static void forget(struct epoll *epoll, struct watched *watched) {
    /* The kernel forgets what is closed by itself. A bell that another descriptor still means stays until that is
       closed too; its rings are of no known generation, and are dropped. */
    remove_door(epoll, watched, epoll_outer(epoll));
    unwatch(watched, false);
    epoll_drop(epoll, watched);
}

void epoll_leave(int fd) {
    int saved = errno;
    epoll_each(fd, leave);
    errno = saved;
}

void epoll_rejoin(int fd) {
    int saved = errno;
    epoll_each(fd, rejoin);
    errno = saved;
}

void epoll_forget(int fd) {
    int saved = errno;
    epoll_each(fd, forget);
    errno = saved;
}
