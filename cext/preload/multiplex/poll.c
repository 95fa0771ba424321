/* poll and ppoll: from memory while there is something, in the kernel when there is not.
 *
 * A direct connection's descriptor is left out of what the kernel is asked for. When the thread goes to sleep, its
 * sleeper (wait/sleeper.h) stands for all of them, as one descriptor more. */
#include "multiplex/poll.h"

#include <sched.h>
#include <sys/mman.h>

#include "base/real.h"
#include "base/signals.h"
#include "discovery/policy.h"
#include "handshake/progress.h"
#include "multiplex/look.h"
#include "stream/deaths.h"
#include "stream/doorbell.h"
#include "stream/ring.h"
#include "wait/sleeper.h"
#include "wait/spin.h"
#include "wait/stay.h"

#define FEW 128
#define READ_SIDE (POLLIN | POLLRDNORM | POLLRDBAND | POLLRDHUP | POLLPRI)
#define WRITE_SIDE (POLLOUT | POLLWRNORM | POLLWRBAND)
#define ASK_BUSY_NS 50000u  /* the kernel is asked so often while direct descriptors are ready */
#define ASK_QUIET_NS 10000u /* and so often while nothing is */

struct direct {
    struct entry *entry; /* held */
    nfds_t at;
    unsigned armed;
};

/* What the call holds: not in its frame, as a handler may jump out of it. */
struct held {
    bool used; /* the thread's own one is, by a call that this one interrupts */
    bool armed;
    size_t bytes; /* mapped for it, or 0 */
    nfds_t count;
    struct direct direct[];
};

struct set {
    /* kernel: the same places without direct connections, and one more for the sleeper */
    struct pollfd *fds, *kernel;
    nfds_t count;
    struct held *held;
    struct direct *direct; /* held->direct */
    bool plain;            /* the kernel has something of it */
};

static __thread _Atomic uint64_t learnt;
static __thread uint64_t asked;
static __thread struct {
    struct held held;
    struct direct direct[FEW];
} own; /* of the thread, for FEW descriptors */

static bool matters(const struct entry *entry) {
    return entry->kind == ENTRY_CONN ||
           (entry->kind == ENTRY_EPOLL && atomic_load(&((const struct epoll *)entry)->direct));
}

static void collect(struct set *set) {
    set->held->count = 0;
    set->plain = false;
    for (nfds_t i = 0; i < set->count; i++) {
        struct entry *entry = set->fds[i].fd < 0 ? NULL : entry_hold(set->fds[i].fd);
        set->kernel[i] = (struct pollfd){set->fds[i].fd, set->fds[i].events, 0};
        if (entry != NULL && matters(entry)) {
            set->direct[set->held->count++] = (struct direct){entry, i, 0};
            if (entry->kind == ENTRY_CONN)
                set->kernel[i].fd = -1;
        } else if (entry != NULL) {
            entry_release(entry);
        }
        set->plain |= set->kernel[i].fd >= 0;
    }
    set->kernel[set->count] = (struct pollfd){-1, POLLIN, 0};
}

static void discard(struct held *held) {
    int saved = errno;
    for (nfds_t i = 0; i < held->count; i++)
        entry_release(held->direct[i].entry);
    held->count = 0;
    errno = saved;
}

/* Asks the kernel; what it says of its own goes into fds. */
static int ask(struct set *set, uint64_t timeout, const sigset_t *mask, enum interruption *interruption) {
    struct timespec none = {0, 0};
    bool looks = timeout == 0 && mask == NULL; /* a waiting handler that ran in it would not end the call */
    *interruption = INTERRUPTION_NONE;
    int result = looks ? real_ppoll(set->kernel, set->count + 1, &none, NULL)
                       : sleeper_ppoll(set->kernel, set->count + 1, timeout, mask, interruption);
    for (nfds_t i = 0; i < set->count; i++)
        set->fds[i].revents = result > 0 ? set->kernel[i].revents : 0;
    return result;
}

static void look_at_epoll(struct epoll *epoll, struct pollfd *poll, bool last) {
    if (last)
        epoll_look_for_deaths(epoll);
    if (poll->revents & POLLIN) { /* by a doorbell, perhaps, that has nothing to say any more */
        struct pollfd again = {poll->fd, poll->events, 0};
        epoll_collect(epoll);
        poll->revents = quiet_poll(&again, 1, 0) == 1 ? again.revents : 0;
    }
    if (epoll_is_ready(epoll))
        poll->revents |= poll->events & (POLLIN | POLLRDNORM);
}

/* last: this is the last look before the call says that there is nothing, so the kernel is asked for deaths as well. */
static void look(struct set *set, bool last) {
    bool asked_for_deaths = false;
    for (nfds_t i = 0; i < set->held->count; i++) {
        struct direct *direct = &set->direct[i];
        struct pollfd *poll = &set->fds[direct->at];
        if (direct->entry->kind == ENTRY_EPOLL) {
            look_at_epoll((struct epoll *)direct->entry, poll, last);
            continue;
        }
        struct conn *conn = (struct conn *)direct->entry;
        unsigned wanted = (unsigned)poll->events;
        if (conn_phase(conn) < CONN_DIRECT)
            progress_serve(conn, poll->fd);
        unsigned found = stream_events(conn, wanted);
        if (found == 0 && last)
            deaths_look(conn, poll->fd, &asked_for_deaths);
        else if (found != 0 && !atomic_load_explicit(&conn->peer_gone, memory_order_relaxed))
            deaths_look_by_time(conn, poll->fd); /* or who always has something would never hear of a death */
        poll->revents = (short)stream_events(conn, wanted);
    }
}

static int ready(const struct set *set) {
    int count = 0;
    for (nfds_t i = 0; i < set->count; i++)
        count += set->fds[i].revents != 0;
    return count;
}

/* Beside one that always has something, the others would never hear of a death. */
static void look_for_deaths(struct set *set) {
    bool asked_for_deaths = false;
    uint64_t now = ticks_now();
    for (nfds_t i = 0; i < set->held->count; i++) {
        struct conn *conn = (struct conn *)set->direct[i].entry;
        struct pollfd *poll = &set->fds[set->direct[i].at];
        if (conn->entry.kind != ENTRY_CONN || poll->revents != 0 || conn_phase(conn) != CONN_DIRECT)
            continue;
        deaths_look_since(conn, poll->fd, now, &asked_for_deaths);
        if (UNLIKELY(atomic_load_explicit(&conn->peer_gone, memory_order_relaxed)))
            poll->revents = (short)stream_events(conn, (unsigned)poll->events);
    }
}

/* Before a sleep; false when the thread can't be woken by all of them, and must nap. */
static bool arm(struct set *set, struct sleeper *sleeper, uint64_t *due) {
    bool all = sleeper != NULL;
    set->held->armed = true;
    for (nfds_t i = 0; i < set->held->count; i++) {
        struct direct *direct = &set->direct[i];
        struct pollfd *poll = &set->fds[direct->at];
        if (direct->entry->kind == ENTRY_EPOLL) {
            epoll_sleep_begins((struct epoll *)direct->entry, due);
            continue;
        }
        struct conn *conn = (struct conn *)direct->entry;
        unsigned wanted = poll->events & WRITE_SIDE ? POLLOUT : 0;
        if (poll->events & READ_SIDE || wanted == 0)
            wanted |= POLLIN;
        doorbell_arm(conn, direct->armed = wanted);
        all &= sleeper != NULL && sleeper_watch(sleeper, conn, poll->fd);
        uint64_t when = progress_due(conn);
        if (when != 0 && when < *due)
            *due = when;
    }
    set->kernel[set->count].fd = sleeper != NULL ? sleeper_descriptor(sleeper) : -1;
    return all;
}

static bool heed_one(struct set *set, const struct wake *wake) {
    bool heeded = false;
    for (nfds_t i = 0; i < set->held->count; i++)
        if (set->direct[i].entry->kind == ENTRY_CONN)
            heeded |= sleeper_heed((struct conn *)set->direct[i].entry, set->fds[set->direct[i].at].fd, wake);
    return heeded;
}

static void heed(struct set *set, struct sleeper *sleeper) {
    struct wake wakes[MOST_WAKES];
    int count;
    do {
        count = sleeper_collect(sleeper, wakes);
        for (int i = 0; i < count; i++)
            if (wakes[i].serial != 0 && !heed_one(set, &wakes[i]))
                sleeper_unheeded(sleeper, &wakes[i]);
    } while (count == MOST_WAKES);
}

static void disarm(struct held *held) {
    for (nfds_t i = 0; i < held->count && held->armed; i++) {
        struct direct *direct = &held->direct[i];
        if (direct->entry->kind == ENTRY_EPOLL)
            epoll_sleep_ended((struct epoll *)direct->entry);
        else
            doorbell_disarm((struct conn *)direct->entry, direct->armed);
    }
    held->armed = false;
}

static void wake_up(struct set *set, struct sleeper *sleeper) {
    disarm(set->held);
    for (nfds_t i = 0; i < set->held->count; i++) {
        if (set->direct[i].entry->kind != ENTRY_CONN)
            continue;
        struct conn *conn = (struct conn *)set->direct[i].entry;
        doorbell_keep_short(conn);
        if (conn_phase(conn) < CONN_DIRECT)
            progress_serve(conn, set->fds[set->direct[i].at].fd);
    }
    if (sleeper != NULL && set->kernel[set->count].revents != 0)
        heed(set, sleeper);
    set->kernel[set->count].fd = -1;
}

static bool has_gone_plain(const struct set *set) {
    for (nfds_t i = 0; i < set->held->count; i++)
        if (set->direct[i].entry->kind == ENTRY_CONN && conn_phase((struct conn *)set->direct[i].entry) == CONN_PLAIN)
            return true;
    return false;
}

/* After a sleep the kernel looks all numbers up anew: one may have been closed meanwhile, or mean something else. */
static void look_up_again(struct set *set) {
    bool same = !has_gone_plain(set);
    for (nfds_t i = 0; i < set->held->count && same; i++)
        same = entry_of(set->fds[set->direct[i].at].fd) == set->direct[i].entry;
    if (same)
        return;
    discard(set->held);
    collect(set);
    ask(set, 0, NULL, &(enum interruption){0});
}

/* Sleeps once; -1 and errno. *interruption: handlers have run in it, perhaps beside what it was for. */
static int sleep_once(struct set *set, uint64_t deadline, const sigset_t *mask, struct spin *spin,
                      enum interruption *interruption) {
    uint64_t due = deadline, began;
    struct sleeper *sleeper = sleeper_mine();
    int result = 0, error = 0;
    *interruption = INTERRUPTION_NONE;
    if (!arm(set, sleeper, &due) && now_ns() + NAP_NS < due)
        due = now_ns() + NAP_NS;
    look(set, sleeper == NULL);
    began = now_ns();
    if (ready(set) == 0 && !has_gone_plain(set)) {
        result = ask(set, due == FOR_EVER ? FOR_EVER : due > began ? due - began : 1, mask, interruption);
        error = errno;
        asked = now_ns();
        spin_slept(spin, asked - began);
    }
    wake_up(set, sleeper);
    errno = error;
    return result < 0 ? -1 : 0;
}

/* Asks the kernel without waiting, and looks. The number of descriptors with events, or -1 and errno. */
static int ask_and_look(struct set *set, uint64_t now, const sigset_t *mask, bool last) {
    enum interruption interruption;
    if (ask(set, 0, mask, &interruption) < 0)
        return -1;
    asked = now;
    look(set, last);
    int count = ready(set);
    if (count == 0 && interruption != INTERRUPTION_NONE) {
        errno = EINTR;
        return -1;
    }
    return count;
}

static int wait_for(struct set *set, uint64_t timeout, const sigset_t *mask) {
    uint64_t now = now_ns(), deadline = timeout > FOR_EVER - now ? FOR_EVER : now + timeout;
    struct spin spin;
    bool spinning = false, signals = mask != NULL;
    int count, saved = errno;
    for (nfds_t i = 0; i < set->count; i++)
        set->fds[i].revents = 0;
    for (;;) {
        if (signals || (set->plain && (timeout == 0 || now - asked >= ASK_BUSY_NS))) {
            count = ask_and_look(set, now, NULL, timeout == 0);
            if (count == 0 && signals) /* as the kernel: a signal that waits counts when there is nothing else */
                count = ask_and_look(set, now, mask, timeout == 0);
            signals = false;
        } else {
            look(set, timeout == 0);
            count = ready(set);
        }
        if (UNLIKELY(count == 0 && has_gone_plain(set))) { /* by this very look: the kernel knows what there is */
            look_up_again(set);
            look(set, timeout == 0);
            count = ready(set);
        }
        if (count == 0 && asked != now && set->plain && (timeout == 0 || now - asked >= ASK_QUIET_NS))
            count = ask_and_look(set, now, mask, timeout == 0);
        if (count != 0) {
            look_for_deaths(set);
            count = ready(set);
            break;
        }
        if (now >= deadline)
            break;
        if (!spinning)
            spin_start(&spin, &learnt);
        spinning = true;
        if (!has_gone_plain(set) && handlers.waiting == 0 && spin_on(&spin)) {
            if (spin.now != 0)
                now = spin.now;
            continue;
        }
        enum interruption interruption;
        count = sleep_once(set, deadline, mask, &spin, &interruption);
        spinning = false;
        if (count < 0) /* nothing had come; what a handler has brought about comes after it */
            break;
        look_up_again(set);
        look(set, false); /* what the sleep has found counts even when the time is over */
        if ((count = ready(set)) != 0)
            break;
        if (interruption != INTERRUPTION_NONE) {
            errno = EINTR;
            count = -1;
            break;
        }
        now = now_ns();
    }
    if (spinning && count >= 0)
        spin_slept(&spin, 0);
    if (count >= 0)
        errno = saved;
    return count;
}

static struct held *take_memory(nfds_t count) {
    size_t bytes = sizeof(struct held) + count * sizeof(struct direct) + (count + 1) * sizeof(struct pollfd);
    struct held *held = &own.held;
    if (count > FEW || held->used) {
        held = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (held == MAP_FAILED)
            return NULL;
        held->bytes = bytes;
    }
    held->used = true;
    held->armed = false;
    held->count = 0;
    return held;
}

static void give_memory_back(struct held *held) {
    int saved = errno;
    held->used = false;
    if (held->bytes != 0)
        munmap(held, held->bytes);
    errno = saved;
}

static void leave(struct stay *stay) {
    disarm(stay->what);
    discard(stay->what);
    give_memory_back(stay->what);
}

/* False: none of them is direct any more. */
static bool poll_with(struct held *held, struct pollfd *fds, nfds_t count, uint64_t timeout, const sigset_t *mask,
                      int *result) {
    struct pollfd few[FEW + 1], *kernel = count <= FEW ? few : (struct pollfd *)(held->direct + count);
    struct set set = {.fds = fds, .kernel = kernel, .count = count, .held = held, .direct = held->direct};
    struct mark mark;
    struct stay *stay = stay_begin(&mark, leave, held);
    collect(&set);
    bool some = held->count != 0;
    if (some)
        *result = wait_for(&set, timeout, mask);
    discard(held);
    stay_end(stay);
    return some;
}

bool poll_has_direct(const struct pollfd *fds, nfds_t count) {
    if (is_bad(fds) || entry_highest < 0)
        return false;
    for (nfds_t i = 0; i < count; i++) {
        const struct entry *entry = entry_of(fds[i].fd);
        if (UNLIKELY(entry != NULL) && (!policy_is_sealed() || matters(entry)))
            return true;
    }
    return false;
}

int poll_direct(struct pollfd *fds, nfds_t count, uint64_t timeout, const sigset_t *mask) {
    int result;
    handlers_hold();
    struct held *held = take_memory(count);
    bool done = held != NULL && poll_with(held, fds, count, timeout, mask, &result);
    if (held != NULL)
        give_memory_back(held);
    handlers_release();
    if (held == NULL) {
        errno = ENOMEM;
        return -1;
    }
    if (done)
        return result;
    progress_before_sleep();
    /* without a place for the sleeper, which counts as one */
    return sleeper_ppoll(fds, count, timeout, mask, &(enum interruption){0});
}
