/* poll and ppoll: from memory while there is something, in the kernel with the bells when there is not. */
#include "epoll.h"

#include <sched.h>
#include <stdlib.h>

#define FEW 32
#define POLL_IN (POLLIN | POLLRDNORM | POLLRDBAND | POLLRDHUP | POLLPRI)
#define POLL_OUT (POLLOUT | POLLWRNORM | POLLWRBAND)

struct direct {
    struct entry *entry;     /* held */
    nfds_t at;
    unsigned armed;
};

struct set {
    struct pollfd *fds, *kernel;      /* kernel: the same places, direct connections left out until we sleep */
    nfds_t count, doors, extra;       /* after them: listeners' doors, then further sources of sleepers (extra: both) */
    struct direct *direct;
    nfds_t directs;
    bool plain;                       /* the kernel has something of it */
};

static __thread uint64_t learnt, asked;

struct timespec *time_of(uint64_t ns, struct timespec *room) {
    if (ns == FOR_EVER)
        return NULL;
    room->tv_sec = (time_t)(ns / 1000000000);
    room->tv_nsec = (long)(ns % 1000000000);
    return room;
}

static void collect(struct set *set) {
    set->directs = set->doors = 0;
    set->plain = false;
    for (nfds_t i = 0; i < set->count; i++) {
        struct entry *entry = set->fds[i].fd < 0 ? NULL : entry_hold(set->fds[i].fd);
        set->kernel[i] = (struct pollfd){set->fds[i].fd, set->fds[i].events, 0};
        if (entry != NULL && poll_matters(entry)) {
            set->direct[set->directs++] = (struct direct){entry, i, 0};
            if (is_direct(entry))
                set->kernel[i].fd = -1;
            else if (entry->kind == VN_LISTENER && listener_door(entry) >= 0)
                set->kernel[set->count + set->doors++] =
                    (struct pollfd){listener_door(entry), set->fds[i].events & (POLLIN | POLLRDNORM), 0};
        } else if (entry != NULL) {
            entry_release(entry);
        }
        set->plain |= set->kernel[i].fd >= 0;
    }
    set->extra = set->doors;
}

static void discard(struct set *set) {
    int saved = errno;
    for (nfds_t i = 0; i < set->directs; i++)
        entry_release(set->direct[i].entry);
    errno = saved;
}

/* Asks the kernel, with the sources beyond `count` for a sleep; what it says of its own goes into fds. */
static int ask(struct set *set, nfds_t sources, uint64_t timeout, const sigset_t *mask) {
    struct timespec time;
    int result = real_ppoll(set->kernel, set->count + sources, time_of(timeout, &time), mask);
    for (nfds_t i = 0; i < set->count; i++)
        set->fds[i].revents = result > 0 ? set->kernel[i].revents : 0;
    for (nfds_t i = 0; i < set->doors && result > 0; i++)
        for (nfds_t j = 0; j < set->directs; j++)
            if (set->kernel[set->count + i].revents != 0 && set->direct[j].entry->kind == VN_LISTENER &&
                listener_door(set->direct[j].entry) == set->kernel[set->count + i].fd)
                set->fds[set->direct[j].at].revents |= set->kernel[set->count + i].revents & (POLLIN | POLLRDNORM);
    return result;
}

static void look(struct set *set) {
    for (nfds_t i = 0; i < set->directs; i++) {
        struct direct *direct = &set->direct[i];
        struct pollfd *poll = &set->fds[direct->at];
        if (direct->entry->kind == VN_CONN) {
            struct conn *conn = (struct conn *)direct->entry;
            if (poll->revents & POLLNVAL)   /* closed by another thread while we slept */
                continue;
            poll->revents = (short)(conn_events(conn) & ((unsigned)poll->events | POLLERR | POLLHUP));
            if (poll->revents == 0)
                bell_look_sometimes(conn, poll->fd);
        } else if (direct->entry->kind == VN_EPOLL) {
            if (poll->revents & POLLIN) {   /* by a bell, perhaps, that has nothing to say any more */
                struct pollfd again = {poll->fd, poll->events, 0};
                epoll_collect((struct epoll *)direct->entry);
                poll->revents = real_poll(&again, 1, 0) == 1 ? again.revents : 0;
            }
            if (epoll_ready((struct epoll *)direct->entry))
                poll->revents |= poll->events & (POLLIN | POLLRDNORM);
        }
    }
}

static int ready(struct set *set) {
    int count = 0;
    for (nfds_t i = 0; i < set->count; i++)
        count += set->fds[i].revents != 0;
    return count;
}

static void arm(struct set *set, uint64_t *due) {
    set->extra = set->doors;
    for (nfds_t i = 0; i < set->directs; i++) {
        struct direct *direct = &set->direct[i];
        struct pollfd *poll = &set->fds[direct->at], sources[2];
        if (direct->entry->kind == VN_CONN) {
            struct conn *conn = (struct conn *)direct->entry;
            unsigned wanted = poll->events & POLL_OUT ? POLLOUT : 0;
            if (poll->events & POLL_IN || wanted == 0)
                wanted |= POLLIN;
            bell_arm(conn, direct->armed = wanted);
            atomic_fetch_add(&conn->asleep, 1);
            int count = bell_sources(conn, poll->fd, wanted, sources);
            set->kernel[direct->at] = sources[0];
            if (conn->bell_ended)   /* it would be readable for ever; there is no more to learn from it */
                set->kernel[direct->at].fd = -1;
            if (count > 1)
                set->kernel[set->count + set->extra++] = sources[1];
            uint64_t when = atomic_load(&conn->phase) < VN_DIRECT ? conn_due(conn) : 0;
            if (when != 0 && when < *due)
                *due = when;
        } else if (direct->entry->kind == VN_EPOLL) {
            atomic_fetch_add(&((struct epoll *)direct->entry)->sleepers, 1);
            epoll_arm((struct epoll *)direct->entry, 0, due);
        }
    }
}

/* false: a descriptor is not any more, or soon, what it was: another connection or plain TCP. */
static bool is_same(const struct set *set) {
    for (nfds_t i = 0; i < set->directs; i++) {
        const struct entry *entry = set->direct[i].entry;
        const struct pollfd *poll = &set->fds[set->direct[i].at];
        if ((entry_of(poll->fd) != entry && !(poll->revents & POLLNVAL)) ||
            (entry->kind == VN_CONN && (!is_direct(entry) || ((const struct conn *)entry)->leaving)))
            return false;
    }
    return true;
}

static void disarm(struct set *set, int result) {
    uint64_t now = now_ns();
    for (nfds_t i = 0; i < set->directs; i++) {
        struct direct *direct = &set->direct[i];
        struct pollfd *poll = &set->fds[direct->at];
        short rang = result > 0 ? set->kernel[direct->at].revents : 0;
        if (direct->entry->kind == VN_CONN) {
            struct conn *conn = (struct conn *)direct->entry;
            poll->revents = rang & POLLNVAL;
            set->kernel[direct->at].fd = -1;
            bell_disarm(conn, direct->armed);
            atomic_fetch_sub(&conn->asleep, 1);
            if (rang & ~POLLNVAL || atomic_load(&conn->phase) < VN_DIRECT) {
                bell_take(conn, poll->fd);
                uint64_t when = atomic_load(&conn->phase) < VN_DIRECT ? conn_due(conn) : 0;
                if (when != 0 && when <= now)
                    conn_serve_due(conn, poll->fd);
            }
        } else if (direct->entry->kind == VN_EPOLL) {
            atomic_fetch_sub(&((struct epoll *)direct->entry)->sleepers, 1);
            epoll_serve((struct epoll *)direct->entry, now);
        }
    }
}

static int wait_set(struct set *set, uint64_t timeout, const sigset_t *mask) {
    uint64_t now = now_ns(), deadline = timeout > FOR_EVER - now ? FOR_EVER : now + timeout;
    struct spin spin;
    bool spinning = false, signals = mask != NULL;
    int count, saved = errno;
    for (nfds_t i = 0; i < set->count; i++)
        set->fds[i].revents = 0;
    for (;;) {
        if (signals || (set->plain && now - asked >= ASK_BUSY_NS)) {
            if (ask(set, set->doors, 0, mask) < 0)
                return -1;
            asked = now;
            signals = false;
        }
        look(set);
        if ((count = ready(set)) > 0)
            break;
        if (asked != now && set->plain && (timeout == 0 || now - asked >= ASK_QUIET_NS)) {
            if (ask(set, set->doors, 0, mask) < 0)
                return -1;
            asked = now;
            look(set);
            if ((count = ready(set)) > 0)
                break;
        }
        if (now >= deadline)
            break;
        if (!spinning)
            spin_start(&spin, &learnt);
        spinning = true;
        if (spin_on(&spin)) {
            now = now_ns();
            continue;
        }
        uint64_t due = deadline;
        arm(set, &due);
        look(set);
        uint64_t began = now_ns();
        int result = 0, error;
        if (ready(set) == 0 && is_same(set)) {
            result = ask(set, set->extra, due == FOR_EVER ? FOR_EVER : due > began ? due - began : 0, mask);
            error = errno;
            now = asked = now_ns();
            spin_slept(&spin, now - began);
            spinning = false;
        }
        disarm(set, result);
        if (result < 0) {
            errno = error;
            return -1;
        }
        if (!is_same(set)) {
            sched_yield();
            discard(set);
            collect(set);
        }
    }
    if (spinning)
        spin_slept(&spin, 0);
    errno = saved;
    return count;
}

int poll_direct(struct pollfd *fds, nfds_t count, uint64_t timeout, const sigset_t *mask) {
    struct pollfd few_polls[2 * FEW], *polls = few_polls;
    struct direct few_direct[FEW], *direct = few_direct;
    if (count > FEW) {
        polls = malloc(2 * count * sizeof(*polls));
        direct = malloc(count * sizeof(*direct));
    }
    int result = -1;
    errno = polls == NULL || direct == NULL ? ENOMEM : errno;
    if (polls != NULL && direct != NULL) {
        struct set set = {.fds = fds, .kernel = polls, .count = count, .direct = direct};
        collect(&set);
        result = wait_set(&set, timeout, mask);
        discard(&set);
    }
    free(polls == few_polls ? NULL : polls);
    free(direct == few_direct ? NULL : direct);
    return result;
}
