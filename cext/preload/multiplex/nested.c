/* Epolls in an epoll: few, watched by the kernel as well, and looked at in memory by every wait. */
#include "multiplex/nested.h"

#include "base/real.h"
#include "base/signals.h"
#include "multiplex/look.h"

#define MOST 64
#define WANTED (EPOLLIN | EPOLLRDNORM)

struct inside {
    struct watched copy;
    struct entry *entry;   /* held */
};

/* To be used without the lock: a nested one has its own. */
static int hold(struct epoll *epoll, struct inside *nested) {
    int count = 0;
    mutex_lock(&epoll->lock);
    for (int fd = 0; fd < epoll->room && count < MOST && (unsigned)count < epoll->nests; fd++)
        if (epoll->by_fd[fd] != NULL && epoll->by_fd[fd]->nested)
            nested[count++].copy = *epoll->by_fd[fd];
    mutex_unlock(&epoll->lock);
    for (int i = 0; i < count; i++)
        nested[i].entry = nested[i].copy.disabled ? NULL : entry_hold(nested[i].copy.fd);
    return count;
}

static bool is_ready(struct entry *entry) {
    return entry->kind == ENTRY_EPOLL && epoll_is_ready((struct epoll *)entry);
}

/* The event is told: the kernel may not tell it again. */
static void told(struct epoll *epoll, struct watched *watched) {
    struct epoll_event none = {EPOLLONESHOT, watched->data};
    if (!(watched->events & EPOLLONESHOT))
        return;
    watched->disabled = true;
    real_epoll_ctl(epoll_outer(epoll), EPOLL_CTL_MOD, watched->fd, &none);
}

int epoll_look_nested(struct epoll *epoll, struct epoll_event *out, int have, int room, bool remember) {
    struct inside nested[MOST];
    int got = 0, count = hold(epoll, nested);
    for (int i = 0; i < count; i++) {
        const struct watched *copy = &nested[i].copy;
        if (nested[i].entry == NULL)
            continue;
        bool ready = is_ready(nested[i].entry), again = false;
        entry_release(nested[i].entry);
        for (int j = 0; j < have; j++)   /* the kernel has said it */
            again |= out[j].data.u64 == copy->data.u64;
        bool tell = ready && !again && copy->events & WANTED && have + got < room && !(copy->events & EPOLLET && copy->seen);
        if (remember) {
            mutex_lock(&epoll->lock);
            struct watched *watched = epoll_find(epoll, copy->fd);
            tell &= watched != NULL && watched->generation == copy->generation;
            if (watched != NULL)
                watched->seen = ready ? EPOLLIN : 0;
            if (tell)
                told(epoll, watched);
            mutex_unlock(&epoll->lock);
        }
        if (tell)
            out[have + got++] = (struct epoll_event){copy->events & WANTED, copy->data};
    }
    return got;
}

/* Does something with each epoll in it, without its lock. */
static void each_inside(struct epoll *epoll, void (*what)(struct epoll *nested, void *about), void *about) {
    struct inside nested[MOST];
    int count = hold(epoll, nested);
    for (int i = 0; i < count; i++) {
        if (nested[i].entry == NULL)
            continue;
        if (nested[i].entry->kind == ENTRY_EPOLL)
            what((struct epoll *)nested[i].entry, about);
        entry_release(nested[i].entry);
    }
}

static void arm_one(struct epoll *nested, void *due) {
    epoll_arm(nested, due);
}

static void look_for_deaths_in_one(struct epoll *nested, void *about) {
    (void)about;
    epoll_look_for_deaths(nested);
}

static void serve_one(struct epoll *nested, void *about) {
    (void)about;
    epoll_serve(nested);
}

bool epoll_arm_nested(struct epoll *epoll, uint64_t *due) {
    struct epoll_event event;
    each_inside(epoll, arm_one, due);
    return epoll_look_nested(epoll, &event, 0, 1, false) > 0;
}

void epoll_look_for_deaths_nested(struct epoll *epoll) {
    each_inside(epoll, look_for_deaths_in_one, NULL);
}

void epoll_serve_nested(struct epoll *epoll) {
    each_inside(epoll, serve_one, NULL);
}

/* The kernel has told an event, which was its last with EPOLLONESHOT: that is so for the program as well, or it is not
 * to hear of this one, and the next must come. */
static void fired(struct epoll *epoll, const struct watched *copy, bool heard) {
    if (!(copy->events & EPOLLONESHOT))
        return;
    mutex_lock(&epoll->lock);
    struct watched *watched = epoll_find(epoll, copy->fd);
    if (watched != NULL && watched->generation == copy->generation && !watched->disabled) {
        struct epoll_event again = {watched->events, watched->data};
        watched->disabled = heard;
        if (!heard)
            real_epoll_ctl(epoll_outer(epoll), EPOLL_CTL_MOD, watched->fd, &again);
    }
    mutex_unlock(&epoll->lock);
}

/* The kernel calls an epoll readable when a doorbell in it has rung, whatever that comes to. */
int epoll_sift_nested(struct epoll *epoll, struct epoll_event *events, int count) {
    struct inside nested[MOST];
    int have = hold(epoll, nested), kept = count;
    for (int i = 0; i < have; i++) {
        struct pollfd inner = {nested[i].copy.fd, POLLIN, 0};
        if (nested[i].entry == NULL)
            continue;
        if (nested[i].entry->kind == ENTRY_EPOLL)
            epoll_collect((struct epoll *)nested[i].entry);
        bool ready = real_poll(&inner, 1, 0) > 0;   /* what is in memory, epoll_look_nested tells */
        entry_release(nested[i].entry);
        for (int j = 0; j < kept; j++) {
            if (events[j].data.u64 != nested[i].copy.data.u64)
                continue;
            fired(epoll, &nested[i].copy, ready);
            if (!ready)
                events[j--] = events[--kept];
        }
    }
    return kept;
}
