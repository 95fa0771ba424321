/* Epolls in an epoll: few, watched by the kernel as well, and looked at in memory by every wait. */
#include "multiplex/nested.h"

#include "base/real.h"
#include "base/signals.h"
#include "multiplex/look.h"

#define WANTED (EPOLLIN | EPOLLRDNORM)

struct inside {
    struct watched copy;
    struct entry *entry; /* held */
};

/* To be used without the lock: a nested one has its own. */
static int hold(struct epoll *epoll, struct inside *nested) {
    int count = 0;
    mutex_lock(&epoll->lock);
    for (int fd = 0; fd < epoll->room && count < MOST_NESTED && (unsigned)count < epoll->nests; fd++)
        if (epoll->by_fd[fd] != NULL && epoll->by_fd[fd]->nested)
            nested[count++].copy = *epoll->by_fd[fd];
    mutex_unlock(&epoll->lock);
    for (int i = 0; i < count; i++)
        nested[i].entry = nested[i].copy.disabled ? NULL : entry_hold(nested[i].copy.fd);
    return count;
}

static bool is_ready(struct entry *entry) {
    return epoll_is_ready((struct epoll *)entry);
}

/* The event is reported: the kernel may not report it again. */
static void reported(struct epoll *epoll, struct watched *watched) {
    if (!(watched->events & EPOLLONESHOT))
        return;
    watched->disabled = true;
    epoll_tag(epoll, watched);
}

static bool is_said(const struct looked *looked, uint32_t generation) {
    for (int i = 0; looked != NULL && i < looked->said_count; i++)
        if (looked->said[i] == generation)
            return true;
    return false;
}

/* Whether the program is to hear of it now: not twice for an edge, nor beside the kernel. */
static bool is_news(struct epoll *epoll, const struct inside *nested, const struct looked *looked) {
    const struct watched *copy = &nested->copy;
    uint64_t arrivals = copy->events & EPOLLET ? epoll_arrivals((struct epoll *)nested->entry) : 0;
    bool ready = is_ready(nested->entry), edge = !(copy->events & EPOLLET) || arrivals != copy->seen_head;
    bool news = ready && edge && !is_said(looked, copy->generation) && copy->events & WANTED;
    if (looked == NULL)
        return news;
    mutex_lock(&epoll->lock);
    struct watched *watched = epoll_find(epoll, copy->fd);
    news &= watched != NULL && watched->generation == copy->generation && !watched->disabled;
    if (watched != NULL)
        watched->seen_head = arrivals;
    if (news)
        reported(epoll, watched);
    mutex_unlock(&epoll->lock);
    return news;
}

int epoll_look_nested(struct epoll *epoll, struct epoll_event *out, int have, int room, const struct looked *looked) {
    struct inside nested[MOST_NESTED];
    int got = 0, count = hold(epoll, nested);
    for (int i = 0; i < count; i++) {
        if (nested[i].entry == NULL)
            continue;
        if (nested[i].entry->kind == ENTRY_EPOLL && have + got < room && is_news(epoll, &nested[i], looked))
            out[have + got++] = (struct epoll_event){nested[i].copy.events & WANTED, nested[i].copy.data};
        entry_release(nested[i].entry);
    }
    return got;
}

/* Does something with each epoll in it, without its lock. */
static void each_inside(struct epoll *epoll, void (*what)(struct epoll *nested, void *about), void *about) {
    struct inside nested[MOST_NESTED];
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
    if (nested->nests > 0)
        epoll_look_for_deaths_nested(nested);
}

static void serve_one(struct epoll *nested, void *about) {
    (void)about;
    epoll_serve(nested);
    if (nested->nests > 0)
        epoll_serve_nested(nested);
}

static void collect_one(struct epoll *nested, void *about) {
    (void)about;
    epoll_collect(nested);
}

static void add_arrivals(struct epoll *nested, void *sum) {
    *(uint64_t *)sum += epoll_arrivals(nested);
}

void epoll_collect_nested(struct epoll *epoll) {
    each_inside(epoll, collect_one, NULL);
}

uint64_t epoll_arrivals_nested(struct epoll *epoll) {
    uint64_t sum = 0;
    each_inside(epoll, add_arrivals, &sum);
    return sum;
}

bool epoll_arm_nested(struct epoll *epoll, uint64_t *due) {
    struct epoll_event event;
    each_inside(epoll, arm_one, due);
    return epoll_look_nested(epoll, &event, 0, 1, NULL) > 0;
}

void epoll_look_for_deaths_nested(struct epoll *epoll) {
    each_inside(epoll, look_for_deaths_in_one, NULL);
}

void epoll_serve_nested(struct epoll *epoll) {
    each_inside(epoll, serve_one, NULL);
}

/* The kernel has reported an event, which was its last with EPOLLONESHOT: that is so for the program as well, or it is not
 * to hear of this one, and the next must come. */
static void fired(struct epoll *epoll, const struct watched *copy, bool heard) {
    if (!(copy->events & EPOLLONESHOT))
        return;
    mutex_lock(&epoll->lock);
    struct watched *watched = epoll_find(epoll, copy->fd);
    if (watched != NULL && watched->generation == copy->generation && !watched->disabled) {
        watched->disabled = heard;
        if (!heard)
            epoll_tag(epoll, watched);
    }
    mutex_unlock(&epoll->lock);
}

static bool is_of(const struct epoll_event *event, const struct watched *watched) {
    return event->data.u64 == (watched->tagged ? EPOLL_NESTED << 32 | watched->generation : watched->data.u64);
}

/* One that was removed after the kernel had reported it: the program knows no such data. */
static int drop_unknown(struct epoll_event *events, int count) {
    int kept = 0;
    for (int i = 0; i < count; i++)
        if (events[i].data.u64 >> 32 != EPOLL_NESTED)
            events[kept++] = events[i];
    return kept;
}

/* The kernel calls an epoll readable when a doorbell in it has rung, whatever that comes to. To take that off may itself
 * make it so: a connection that turns out to be direct wakes those who wait for it. What is in memory, epoll_look_nested
 * tells. */
static bool kernel_has_more(struct inside *nested) {
    struct pollfd inner = {nested->copy.fd, POLLIN, 0};
    for (int tries = 0; tries < 2; tries++) {
        if (nested->entry->kind == ENTRY_EPOLL)
            epoll_collect((struct epoll *)nested->entry);
        if (quiet_poll(&inner, 1, 0) <= 0)
            return false;
    }
    return true;
}

int epoll_sift_nested(struct epoll *epoll, struct epoll_event *events, int count, struct looked *looked) {
    struct inside nested[MOST_NESTED];
    int have = hold(epoll, nested), kept = count;
    looked->said_count = 0;
    for (int i = 0; i < have; i++) {
        const struct watched *copy = &nested[i].copy;
        if (nested[i].entry == NULL)
            continue;
        bool ready = kernel_has_more(&nested[i]);
        entry_release(nested[i].entry);
        for (int j = 0; j < kept; j++) {
            if (!is_of(&events[j], copy))
                continue;
            fired(epoll, copy, ready);
            if (ready) {
                events[j].data = copy->data;
                looked->said[looked->said_count++] = copy->generation;
            } else {
                events[j--] = events[--kept];
            }
            break;
        }
    }
    return drop_unknown(events, kept);
}
