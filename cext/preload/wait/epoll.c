/* epoll_wait and its variants: from memory while there is something, in the kernel's epoll when there is not. */
#include "epoll.h"

#include <limits.h>

#define FRUITLESS 16   /* wake-ups by an inner epoll that is not ours (shared over a fork) before a nap */

static int (*real_pwait2)(int, struct epoll_event *, int, const struct timespec *, const sigset_t *);
static int plain(int epfd, struct epoll_event *events, int room, uint64_t timeout, const sigset_t *mask, bool fine) {
    if (fine && real_pwait2 != NULL && timeout != 0) {
        struct timespec time;
        return real_pwait2(epfd, events, room, time_of(timeout, &time), mask);
    }
    uint64_t ms = timeout / 1000000 + (timeout % 1000000 != 0);
    return real_epoll_pwait(epfd, events, room, timeout == FOR_EVER ? -1 : ms > INT_MAX ? INT_MAX : (int)ms, mask);
}

/* Takes what is ours out of what the kernel reported; what is left is the program's. */
static int sift(struct epoll *epoll, struct epoll_event *events, int count, int *fruitless) {
    int kept = 0;
    for (int i = 0; i < count; i++)
        if (LIKELY(events[i].data.u64 != EPOLL_PRIVATE))
            events[kept++] = events[i];
    if (kept == count)
        return count;
    epoll_collect(epoll);
    pthread_mutex_lock(&epoll->lock);
    bool nothing = epoll->active_count == 0;
    pthread_mutex_unlock(&epoll->lock);
    *fruitless = nothing && kept == 0 ? *fruitless + 1 : 0;
    if (*fruitless > FRUITLESS)
        real_poll(NULL, 0, 1);
    return kept;
}

/* To be done by who goes back to the program: those who sleep must learn of what comes meanwhile. */
static int done(struct epoll *epoll, uint64_t now, int count) {
    uint64_t due = FOR_EVER;
    if (UNLIKELY(atomic_load(&epoll->sleepers) > 0) && epoll_arm(epoll, now, &due))
        watch_kick(epoll);
    return count;
}

static int wait_direct(struct epoll *epoll, int epfd, struct epoll_event *events, int room, uint64_t timeout,
                       const sigset_t *mask, bool fine) {
    uint64_t now = now_ns(), deadline = timeout > FOR_EVER - now ? FOR_EVER : now + timeout;
    struct looked looked = {0};
    struct spin spin;
    bool spinning = false, signals = mask != NULL;
    int fruitless = 0, saved = errno;
    for (;;) {
        int count = 0, asked = 0;
        if (now - epoll->asked >= ASK_BUSY_NS || signals) {   /* first, and with room for it: it must not starve */
            int some = room > 1 ? room / 2 : 1 - epoll->filled;   /* nor may it starve the others */
            struct timespec none = {0, 0};
            count = some > 0 ? plain(epfd, events, some, 0, mask, false) : real_ppoll(NULL, 0, &none, mask);
            if (count < 0)
                return done(epoll, now, -1);
            count = sift(epoll, events, count, &fruitless);
            epoll->filled = count == room;
            epoll->asked = now;
            signals = false;
            asked = some > 0;
        }
        count += epoll_look(epoll, events + count, room - count, now, &looked);
        if (UNLIKELY(epoll->others > 0))
            count += epoll_look_others(epoll, events, count, room, true);
        if (count > 0) {
            if (spinning)
                spin_slept(&spin, 0);
            errno = saved;
            return done(epoll, now, count);
        }
        if (UNLIKELY(looked.young))
            epoll_serve(epoll, now);
        if (UNLIKELY(epoll->others > 0))
            epoll_serve_others(epoll, now);
        if (!asked && (timeout == 0 || now - epoll->asked >= ASK_QUIET_NS)) {
            count = plain(epfd, events, room, 0, mask, false);
            if (count < 0 || (count = sift(epoll, events, count, &fruitless)) > 0) {
                if (count > 0)
                    errno = saved;
                return done(epoll, now, count);
            }
            epoll->asked = now;
            if (timeout == 0)   /* what the kernel's bells brought is looked at once */
                return done(epoll, now, epoll_look(epoll, events, room, now, &looked));
        }
        if (now >= deadline) {
            errno = saved;
            return done(epoll, now, 0);
        }
        if (looked.active) {
            if (!spinning)
                spin_start(&spin, &epoll->learnt);
            spinning = true;
            if (spin_on(&spin)) {
                now = now_ns();
                continue;
            }
        }
        uint64_t due = deadline;
        atomic_fetch_add(&epoll->sleepers, 1);
        if (!epoll_arm(epoll, 0, &due)) {
            uint64_t began = now_ns();
            count = plain(epfd, events, room, due == FOR_EVER ? FOR_EVER : due > began ? due - began : 0, mask, fine);
            int error = errno;
            now = now_ns();
            if (spinning)
                spin_slept(&spin, now - began);
            epoll->asked = now;
            if (count > 0)
                count = sift(epoll, events, count, &fruitless);
            errno = count < 0 ? error : saved;
        } else {
            now = now_ns();
        }
        atomic_fetch_sub(&epoll->sleepers, 1);
        spinning = false;
        if (count > 0)
            count += epoll_look(epoll, events + count, room - count, now, &looked);
        if (count != 0)
            return done(epoll, now, count);
    }
}

static int wait_any(int epfd, struct epoll_event *events, int room, uint64_t timeout, const sigset_t *mask, bool fine,
                    int count) {
    /* count: of a wait that was already made in the kernel, or -1 for none */
    struct epoll *epoll = epoll_hold(epfd);
    if (epoll == NULL)
        return count >= 0 ? count : plain(epfd, events, room, timeout, mask, fine);
    int fruitless = 0;
    if (count > 0)
        count = sift(epoll, events, count, &fruitless);
    if (count <= 0)
        count = wait_direct(epoll, epfd, events, room, timeout, mask, fine);
    int saved = errno;
    epoll_release(epoll);
    errno = saved;
    return count;
}

static inline bool is_mixed(int epfd) {
    struct entry *entry = entry_of(epfd);
    return entry != NULL && entry->kind == VN_EPOLL && atomic_load_explicit(&((struct epoll *)entry)->direct, memory_order_relaxed);
}

/* Who slept in the kernel when the first direct connection came was woken with our data. */
static inline bool has_private(const struct epoll_event *events, int count) {
    for (int i = 0; i < count; i++)
        if (UNLIKELY(events[i].data.u64 == EPOLL_PRIVATE))
            return true;
    return false;
}

static int wait_ms(int epfd, struct epoll_event *events, int room, int ms, const sigset_t *mask) {
    READY();
    uint64_t timeout = ms < 0 ? FOR_EVER : (uint64_t)ms * 1000000;
    if (LIKELY(!is_mixed(epfd)) || room <= 0 || events == NULL) {
        int count = real_epoll_pwait(epfd, events, room, ms, mask);
        if (LIKELY(!has_private(events, count)))
            return count;
        return wait_any(epfd, events, room, timeout, mask, false, count);
    }
    return wait_any(epfd, events, room, timeout, mask, false, -1);
}

EXPORT int epoll_wait(int epfd, struct epoll_event *events, int room, int ms) {
    return wait_ms(epfd, events, room, ms, NULL);
}

EXPORT int epoll_pwait(int epfd, struct epoll_event *events, int room, int ms, const sigset_t *mask) {
    return wait_ms(epfd, events, room, ms, mask);
}

EXPORT int epoll_pwait2(int epfd, struct epoll_event *events, int room, const struct timespec *time, const sigset_t *mask) {
    READY();
    if (real_pwait2 == NULL)
        *(void **)&real_pwait2 = real_function("epoll_pwait2");
    if (real_pwait2 == NULL) {
        errno = ENOSYS;
        return -1;
    }
    bool wrong = time != NULL && (time->tv_sec < 0 || time->tv_nsec < 0 || time->tv_nsec >= 1000000000);
    uint64_t timeout = time == NULL || wrong ? FOR_EVER : (uint64_t)time->tv_sec * 1000000000 + (uint64_t)time->tv_nsec;
    if (LIKELY(!is_mixed(epfd)) || room <= 0 || events == NULL || wrong) {
        int count = real_pwait2(epfd, events, room, time, mask);
        return LIKELY(!has_private(events, count)) ? count : wait_any(epfd, events, room, timeout, mask, true, count);
    }
    return wait_any(epfd, events, room, timeout, mask, true, -1);
}
