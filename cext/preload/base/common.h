/* What every file of the library needs: types, branch hints, the mark of an exported function, and the clock. */
#pragma once

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#define EXPORT __attribute__((visibility("default")))
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

#define MILLISECOND_NS 1000000ull
#define SECOND_NS 1000000000ull

/* The kernel would say EFAULT; so do we for what can't be memory at all. What else is wrong faults in the program. */
static inline bool is_bad(const void *place) {
    uintptr_t address = (uintptr_t)place;
    return UNLIKELY(address < 4096 || address >= 0x0000800000000000ull);
}

/* The same of an argument that may be NULL. */
static inline bool is_bad_option(const void *place) {
    return place != NULL && is_bad(place);
}

/* A time-out in nanoseconds. 136 years are for ever, so that a deadline does not overflow. */
#define FOR_EVER UINT64_MAX

static inline uint64_t in_ns(time_t seconds, long ns) {
    return seconds > (time_t)UINT32_MAX ? FOR_EVER : (uint64_t)seconds * SECOND_NS + (uint64_t)ns;
}

/* Whether the kernel takes it for a time-out; NULL is none. */
static inline bool is_time(const struct timespec *time) {
    return time == NULL ||
           (!is_bad(time) && time->tv_sec >= 0 && time->tv_nsec >= 0 && time->tv_nsec < (long)SECOND_NS);
}

static inline uint64_t time_ns(const struct timespec *time) {
    return time == NULL ? FOR_EVER : in_ns(time->tv_sec, time->tv_nsec);
}

/* Nanoseconds of CLOCK_MONOTONIC. */
static inline uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * SECOND_NS + (uint64_t)t.tv_nsec;
}

/* A clock that costs a third of that, for who asks with each message whether some 0.1 ms have passed. It counts at a rate of
 * its own. */
static inline uint64_t ticks_now(void) {
#if defined(__x86_64__)
    return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
    uint64_t count;
    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(count));
    return count;
#else
    return now_ns();
#endif
}

/* About 0.1 ms: on x86 the rate is 1 to 5 GHz. */
static inline uint64_t ticks_few(void) {
#if defined(__x86_64__)
    return 250000;
#elif defined(__aarch64__)
    uint64_t hertz;
    __asm__("mrs %0, cntfrq_el0" : "=r"(hertz));
    return hertz / 10000;
#else
    return 100000;
#endif
}
