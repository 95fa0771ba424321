/* epoll_wait and its variants: from memory while there is something, in the kernel's epoll when there is not. */
#include "multiplex/epoll.h"

#include "base/real.h"
#include "base/signals.h"
#include "multiplex/look.h"
#include "multiplex/nested.h"
#include "wait/sleeper.h"
#include "wait/spin.h"
#include "wait/stay.h"
#include "watch/active.h"
#include "watch/watch.h"

#include <limits.h>

#define ASK_BUSY_NS 100000u     /* the kernel is asked so often while direct descriptors are ready */
#define ASK_QUIET_NS 10000u     /* and so often while nothing is */
#define ASK_RARELY_NS 10000000u /* and so often for deaths, by who would sleep if it could */
#define FRUITLESS 16            /* wake-ups by an inner epoll that is not ours (shared over a fork) before a nap */

typedef int pwait2_function(int, struct epoll_event *, int, const struct timespec *, const sigset_t *);

static pwait2_function *real_pwait2(void) { /* NULL where the C library has none */
    REAL(int, "epoll_pwait2", (int, struct epoll_event *, int, const struct timespec *, const sigset_t *));
    return real;
}

static int ask_kernel(int epfd, struct epoll_event *events, int room, uint64_t timeout, const sigset_t *mask,
                      bool fine) {
    if (fine && timeout != 0) {
        struct timespec time;
        return real_pwait2()(epfd, events, room, timespec_of(timeout, &time), mask);
    }
    uint64_t ms = timeout / 1000000 + (timeout % 1000000 != 0);
    int time = timeout == FOR_EVER ? -1 : ms > INT_MAX ? INT_MAX : (int)ms;
    return mask == NULL ? real_epoll_wait(epfd, events, room, time) : real_epoll_pwait(epfd, events, room, time, mask);
}

/* In the kernel. Handlers run in it, but in a mere look a waiting one would not end the call. */
static int plain(int epfd, struct epoll_event *events, int room, uint64_t timeout, const sigset_t *mask, bool fine,
                 enum interruption *interruption) {
    struct opening opening;
    *interruption = INTERRUPTION_NONE;
    if (timeout == 0 && mask == NULL)
        return ask_kernel(epfd, events, room, 0, NULL, fine);
    bool is_over = handlers_open(&opening);
    int count = ask_kernel(epfd, events, room, is_over ? 0 : timeout, mask, fine);
    *interruption = handlers_close(&opening);
    return count;
}

static int interrupted(int saved, int count, enum interruption interruption) {
    bool is = count == 0 && interruption != INTERRUPTION_NONE;
    errno = is ? EINTR : saved;
    return is ? -1 : count;
}

/* Takes what is ours out of what the kernel reported; what is left is the program's. */
static int sift(struct epoll *epoll, struct epoll_event *events, int count, int *fruitless, struct looked *looked) {
    int kept = 0;
    for (int i = 0; i < count; i++)
        if (LIKELY(events[i].data.u64 != EPOLL_PRIVATE))
            events[kept++] = events[i];
    if (UNLIKELY(epoll->nests > 0) && kept > 0)
        kept = epoll_sift_nested(epoll, events, kept, looked);
    if (kept == count)
        return count;
    epoll_collect(epoll);
    mutex_lock(&epoll->lock);
    bool nothing = epoll->active_count == 0;
    mutex_unlock(&epoll->lock);
    *fruitless = nothing && kept == 0 ? *fruitless + 1 : 0;
    if (*fruitless > FRUITLESS)
        quiet_poll(NULL, 0, 1);
    return kept;
}

/* Call before every return to the application: re-arm, and wake another thread that sleeps for this epoll if there are
 * events. As in the kernel, whoever is woken wakes the next, as long as there is something. */
static int done(struct epoll *epoll, int count) {
    uint64_t due = FOR_EVER;
    if (UNLIKELY(epoll_has_sleepers(epoll)) && epoll_arm(epoll, &due))
        watch_kick(epoll);
    return count;
}

static void leave(struct stay *stay) {
    struct epoll *epoll = stay->what;
    if (stay->armed)
        atomic_fetch_sub(&epoll->sleepers, 1);
    epoll_release(epoll);
}

static inline uint64_t asked_at(struct epoll *epoll) {
    return atomic_load_explicit(&epoll->asked, memory_order_relaxed);
}

/* A wait for direct connections, and what it knows so far. */
struct wait {
    struct stay *stay;
    struct epoll *epoll;
    int epfd, room;
    struct epoll_event *events;
    uint64_t timeout, deadline, now;
    const sigset_t *mask;
    bool fine;
    bool signals; /* the mask has yet to let handlers run */
    bool asked;   /* the kernel, in this round */
    bool spinning;
    int fruitless;
    int saved; /* errno, which only a failure changes */
    struct spin spin;
    struct looked *looked;
};

/* The number of events; -1 and errno when the call is over. */
static int ask_now(struct wait *wait, int room) {
    enum interruption interruption;
    int count = room > 0 ? plain(wait->epfd, wait->events, room, 0, wait->mask, false, &interruption)
                         : sleeper_ppoll(NULL, 0, 0, wait->mask, &interruption);
    if (count < 0)
        return -1;
    count = sift(wait->epoll, wait->events, count, &wait->fruitless, wait->looked);
    atomic_store_explicit(&wait->epoll->asked, wait->now, memory_order_relaxed);
    return interrupted(wait->saved, count, interruption);
}

/* With the `count` events that are there already. */
static int look(struct wait *wait, int count) {
    count += epoll_look(wait->epoll, wait->events + count, wait->room - count, wait->now, wait->looked);
    if (UNLIKELY(wait->epoll->nests > 0))
        count += epoll_look_nested(wait->epoll, wait->events, count, wait->room, wait->looked);
    return count;
}

/* Who does not sleep hears of no death: because it does not wait, or because another connection always has something. It
 * is asked for before the look, as one wait must not report a connection twice. */
static void look_for_deaths(struct wait *wait) {
    uint64_t last = atomic_load_explicit(&wait->epoll->asked_for_deaths, memory_order_relaxed);
    if (wait->now - last < (wait->timeout == 0 ? ASK_BUSY_NS : ASK_RARELY_NS))
        return;
    atomic_store_explicit(&wait->epoll->asked_for_deaths, wait->now, memory_order_relaxed);
    epoll_look_for_deaths(wait->epoll);
    if (UNLIKELY(wait->epoll->nests > 0))
        epoll_look_for_deaths_nested(wait->epoll);
}

/* Of who does not wait, before it says that there is nothing: what the doorbells have brought. */
static int look_last(struct wait *wait) {
    int count = look(wait, 0);
    errno = wait->saved;
    return count;
}

/* Before the look at memory, and with room for what the kernel has: it must not starve, nor may it starve the others. */
static int ask_first(struct wait *wait) {
    bool filled = atomic_load_explicit(&wait->epoll->filled, memory_order_relaxed);
    int some = wait->timeout == 0 ? wait->room : wait->room > 1 ? wait->room / 2 : 1 - filled;
    int count = ask_now(wait, some);
    atomic_store_explicit(&wait->epoll->filled, count == wait->room, memory_order_relaxed);
    wait->signals = false;
    wait->asked = some > 0;
    return count;
}

/* Connections without an answer may be direct or the kernel's by now, which was asked before. */
static void serve(struct wait *wait) {
    if (UNLIKELY(wait->looked->young)) {
        epoll_serve(wait->epoll);
        wait->asked = wait->asked && wait->timeout != 0;
    }
    if (UNLIKELY(wait->epoll->nests > 0))
        epoll_serve_nested(wait->epoll);
}

static bool spins(struct wait *wait) {
    if (!wait->looked->active)
        return false;
    if (!wait->spinning)
        spin_start(&wait->spin, &wait->epoll->learnt);
    wait->spinning = true;
    if (handlers.waiting != 0 || !spin_on(&wait->spin))
        return false;
    if (wait->spin.now != 0)
        wait->now = wait->spin.now;
    return true;
}

static int sleep_armed(struct wait *wait, uint64_t due, enum interruption *interruption) {
    uint64_t began = now_ns(), time = due == FOR_EVER ? FOR_EVER : due > began ? due - began : 1;
    int count = plain(wait->epfd, wait->events, wait->room, time, wait->mask, wait->fine, interruption), error = errno;
    wait->now = now_ns();
    if (wait->spinning)
        spin_slept(&wait->spin, wait->now - began);
    atomic_store_explicit(&wait->epoll->asked, wait->now, memory_order_relaxed);
    if (count > 0)
        count = sift(wait->epoll, wait->events, count, &wait->fruitless, wait->looked);
    errno = count < 0 ? error : wait->saved;
    return count;
}

static int sleep_once(struct wait *wait) {
    enum interruption interruption = INTERRUPTION_NONE;
    uint64_t due = wait->deadline;
    int count = 0;
    if (UNLIKELY(wait->epoll->shared) && wait->now + NAP_NS < due) /* another process may take an edge */
        due = wait->now + NAP_NS;
    atomic_fetch_add(&wait->epoll->sleepers, 1);
    wait->stay->armed = 1;
    if (!epoll_arm(wait->epoll, &due))
        count = sleep_armed(wait, due, &interruption);
    else
        wait->now = now_ns();
    atomic_fetch_sub(&wait->epoll->sleepers, 1);
    wait->stay->armed = 0;
    wait->spinning = false;
    if (count > 0)
        return look(wait, count);
    if (count == 0 && interruption != INTERRUPTION_NONE)
        return interrupted(wait->saved, look(wait, 0), interruption);
    return count;
}

static int wait_direct(struct wait *wait) {
    struct epoll *epoll = wait->epoll;
    wait->now = now_ns();
    wait->deadline = wait->timeout > FOR_EVER - wait->now ? FOR_EVER : wait->now + wait->timeout;
    if (UNLIKELY(atomic_load_explicit(&conn_young, memory_order_relaxed) > 0))
        epoll_serve(epoll);
    look_for_deaths(wait);
    for (;;) {
        int count = 0;
        wait->asked = false;
        if (wait->timeout == 0 || wait->now - asked_at(epoll) >= ASK_BUSY_NS || wait->signals)
            count = ask_first(wait);
        if (count < 0)
            return done(epoll, -1);
        count = look(wait, count);
        if (count > 0) {
            if (wait->spinning)
                spin_slept(&wait->spin, 0);
            errno = wait->saved;
            return done(epoll, count);
        }
        serve(wait);
        uint64_t pause = spin_shares() ? ASK_BUSY_NS : ASK_QUIET_NS;
        if (!wait->asked && (wait->timeout == 0 || wait->now - asked_at(epoll) >= pause) &&
            (count = ask_now(wait, wait->room)) != 0)
            return done(epoll, count);
        if (wait->timeout == 0)
            return done(epoll, look_last(wait));
        if (wait->now >= wait->deadline) {
            errno = wait->saved;
            return done(epoll, 0);
        }
        if (!spins(wait) && (count = sleep_once(wait)) != 0)
            return done(epoll, count);
    }
}

static int wait_any(int epfd, struct epoll_event *events, int room, uint64_t timeout, const sigset_t *mask, bool fine,
                    int count) {
    /* count: of a wait that was already made in the kernel, or -1 for none */
    HANDLERS_WAIT();
    struct epoll *epoll = epoll_hold(epfd);
    if (epoll == NULL)
        return count >= 0 ? count : plain(epfd, events, room, timeout, mask, fine, &(enum interruption){0});
    int saved = errno;
    struct looked looked;
    looked.said_count = 0; /* not more: it is large */
    struct mark mark;
    struct wait wait = {.stay = stay_begin(&mark, leave, epoll),
                        .epoll = epoll,
                        .epfd = epfd,
                        .room = room,
                        .events = events,
                        .timeout = timeout,
                        .mask = mask,
                        .fine = fine,
                        .signals = mask != NULL,
                        .saved = saved,
                        .looked = &looked};
    if (count > 0)
        count = sift(epoll, events, count, &wait.fruitless, &looked);
    if (count <= 0)
        count = wait_direct(&wait);
    saved = errno;
    epoll_release(epoll);
    stay_end(wait.stay);
    errno = saved;
    return count;
}

static inline bool is_mixed(int epfd) {
    struct entry *entry = entry_of(epfd);
    return entry != NULL && entry->kind == ENTRY_EPOLL &&
           atomic_load_explicit(&((struct epoll *)entry)->direct, memory_order_relaxed);
}

/* Who slept in the kernel when the first direct connection came was woken with our data. */
static inline bool has_private(const struct epoll_event *events, int count) {
    for (int i = 0; i < count; i++)
        if (UNLIKELY(events[i].data.u64 == EPOLL_PRIVATE || events[i].data.u64 >> 32 == EPOLL_NESTED))
            return true;
    return false;
}

/* Sleeps in the kernel alone, unless that would miss direct connections; *mixed says that. */
static int sleep_early(int epfd, struct epoll_event *events, int room, uint64_t timeout, const sigset_t *mask,
                       bool fine, bool *mixed) {
    _Atomic int *early = epoll_early_of(epfd);
    atomic_fetch_add(early, 1);
    *mixed = is_mixed(epfd); /* after the count, which those who make it mixed look at afterwards */
    int count = *mixed ? 0 : ask_kernel(epfd, events, room, timeout, mask, fine);
    int saved = errno;
    atomic_fetch_sub(early, 1);
    errno = saved;
    return count;
}

static int wait_either(int epfd, struct epoll_event *events, int room, uint64_t timeout, const sigset_t *mask,
                       bool fine) {
    if (UNLIKELY(!atomic_load_explicit(&epoll_waits_seen, memory_order_relaxed)))
        watch_first_wait();
    if (UNLIKELY(room <= 0 || events == NULL))
        return ask_kernel(epfd, events, room, timeout, mask, fine);
    bool mixed = is_mixed(epfd);
    if (LIKELY(!mixed)) {
        int count = timeout == 0 ? ask_kernel(epfd, events, room, 0, mask, fine)
                                 : sleep_early(epfd, events, room, timeout, mask, fine, &mixed);
        if (LIKELY(!mixed && !has_private(events, count)))
            return count;
        if (!mixed)
            return wait_any(epfd, events, room, timeout, mask, fine, count);
    }
    return wait_any(epfd, events, room, timeout, mask, fine, -1);
}

int epoll_wait_ms(int epfd, struct epoll_event *events, int room, int ms, const sigset_t *mask) {
    return wait_either(epfd, events, room, ms < 0 ? FOR_EVER : (uint64_t)ms * MILLISECOND_NS, mask, false);
}

int epoll_wait_fine(int epfd, struct epoll_event *events, int room, const struct timespec *time, const sigset_t *mask) {
    if (real_pwait2() == NULL) {
        errno = ENOSYS;
        return -1;
    }
    if (!is_time(time))
        return real_pwait2()(epfd, events, room, time, mask);
    return wait_either(epfd, events, room, time_ns(time), mask, true);
}
