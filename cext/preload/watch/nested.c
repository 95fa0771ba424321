/* Listeners with a door and nested epolls: few, watched by the kernel as well, and looked at in memory by every wait. */
#include "epoll.h"

#define MOST 16
#define WANTED (EPOLLIN | EPOLLRDNORM)

struct other {
    struct watched copy;
    struct entry *entry;   /* held */
};

/* To be used without the lock: a nested one has its own. */
static int hold(struct epoll *epoll, struct other *others) {
    int count = 0;
    pthread_mutex_lock(&epoll->lock);
    for (int fd = 0; fd < epoll->room && count < MOST && (unsigned)count < epoll->others; fd++)
        if (epoll->by_fd[fd] != NULL && epoll->by_fd[fd]->other)
            others[count++].copy = *epoll->by_fd[fd];
    pthread_mutex_unlock(&epoll->lock);
    for (int i = 0; i < count; i++)
        others[i].entry = others[i].copy.disabled ? NULL : entry_hold(others[i].copy.fd);
    return count;
}

static bool is_ready(struct entry *entry) {
    return entry->kind == VN_EPOLL && epoll_ready((struct epoll *)entry);
}

/* The event is told: the kernel may not tell it again. */
static void told(struct epoll *epoll, struct watched *watched) {
    struct epoll_event none = {EPOLLONESHOT, watched->data};
    if (!(watched->events & EPOLLONESHOT))
        return;
    watched->disabled = true;
    real_epoll_ctl(epoll_outer(epoll), EPOLL_CTL_MOD, watched->fd, &none);
}

int epoll_look_others(struct epoll *epoll, struct epoll_event *out, int have, int room, bool remember) {
    struct other others[MOST];
    int got = 0, count = hold(epoll, others);
    for (int i = 0; i < count; i++) {
        const struct watched *copy = &others[i].copy;
        if (others[i].entry == NULL)
            continue;
        bool ready = is_ready(others[i].entry), again = false;
        entry_release(others[i].entry);
        for (int j = 0; j < have; j++)   /* the kernel has said it */
            again |= out[j].data.u64 == copy->data.u64;
        bool tell = ready && !again && copy->events & WANTED && have + got < room && !(copy->events & EPOLLET && copy->seen);
        if (remember) {
            pthread_mutex_lock(&epoll->lock);
            struct watched *watched = epoll_find(epoll, copy->fd);
            tell &= watched != NULL && watched->generation == copy->generation;
            if (watched != NULL)
                watched->seen = ready ? EPOLLIN : 0;
            if (tell)
                told(epoll, watched);
            pthread_mutex_unlock(&epoll->lock);
        }
        if (tell)
            out[have + got++] = (struct epoll_event){copy->events & WANTED, copy->data};
    }
    return got;
}

bool epoll_arm_others(struct epoll *epoll, uint64_t *due) {
    struct other others[MOST];
    struct epoll_event event;
    int count = hold(epoll, others);
    for (int i = 0; i < count; i++) {
        if (others[i].entry == NULL)
            continue;
        if (others[i].entry->kind == VN_EPOLL)
            epoll_arm((struct epoll *)others[i].entry, 0, due);
        entry_release(others[i].entry);
    }
    return epoll_look_others(epoll, &event, 0, 1, false) > 0;
}

void epoll_serve_others(struct epoll *epoll, uint64_t now) {
    struct other others[MOST];
    int count = hold(epoll, others);
    for (int i = 0; i < count; i++) {
        if (others[i].entry == NULL)
            continue;
        if (others[i].entry->kind == VN_EPOLL)
            epoll_serve((struct epoll *)others[i].entry, now);
        entry_release(others[i].entry);
    }
}
