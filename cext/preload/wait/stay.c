/* What a call holds while it sleeps: see stay.h. */
#include "wait/stay.h"

#include <pthread.h>
#include <signal.h>

#include "base/signals.h"

#define MOST_STAYS 8 /* calls in handlers that interrupt each other */
#define MOST_AT_END 4
#define NEAR (32 * 1024)

static __thread struct stay stays[MOST_STAYS]; /* leave is NULL in those that are free */
static __thread unsigned count;                /* of the others */
static __thread bool will_end;
static __thread uint64_t marks = 0x5d0c0ull << 40;
static pthread_key_t key;
static void (*at_end[MOST_AT_END])(void);
static unsigned ends;

static void give_back(struct stay *stay) {
    struct stay gone = *stay;
    stay->leave = NULL;
    count--;
    gone.leave(&gone);
}

/* Whether the frame is gone: others have its place, or it lies above what runs now. That says nothing of another stack,
 * be it a handler's or a coroutine's, which lies further away. */
static bool is_gone(const struct stay *stay) {
    stack_t stack;
    uintptr_t here = (uintptr_t)__builtin_frame_address(0), there = (uintptr_t)stay->mark;
    if (*stay->mark != stay->number)
        return true;
    if (here < there || here - there > NEAR)
        return false;
    return sigaltstack(NULL, &stack) != 0 || !(stack.ss_flags & SS_ONSTACK);
}

static void settle(void) {
    for (unsigned i = 0; i < MOST_STAYS && count > 0; i++)
        if (stays[i].leave != NULL && is_gone(&stays[i]))
            give_back(&stays[i]);
}

void stay_settle(void) {
    HANDLERS_WAIT();
    if (UNLIKELY(count > 0))
        settle();
}

bool stay_is_inside(void) {
    return count > 0;
}

struct stay *stay_begin(struct mark *mark, void (*leave)(struct stay *stay), void *what) {
    struct stay *stay = &mark->beyond;
    mark->number = ++marks; /* before the look: a call that was left may have had the same frame */
    if (UNLIKELY(count > 0))
        settle();
    if (UNLIKELY(!will_end))
        will_end = pthread_setspecific(key, &will_end) == 0;
    for (unsigned i = 0; i < MOST_STAYS && stay == &mark->beyond; i++)
        if (LIKELY(stays[i].leave == NULL))
            stay = &stays[i];
    count += stay != &mark->beyond;
    *stay = (struct stay){leave, what, 0, 0, &mark->number, mark->number};
    return stay;
}

void stay_end(struct stay *stay) {
    bool recorded = stay >= stays && stay < stays + MOST_STAYS;
    stay->leave = NULL;
    count -= recorded;
    if (UNLIKELY(count > 0)) /* of a handler's calls that were left by a jump into the handler */
        settle();
}

static void thread_ends(void *unused) {
    (void)unused;
    for (unsigned i = 0; i < MOST_STAYS; i++)
        if (stays[i].leave != NULL)
            give_back(&stays[i]);
    for (unsigned i = 0; i < ends; i++)
        at_end[i]();
    handlers.depth = 0;
    if (handlers.waiting != 0) /* a signal of the process is not to die with the thread */
        handlers_run();
    will_end = false; /* another destructor may use connections after this one */
}

bool stay_init(void) {
    return pthread_key_create(&key, thread_ends) == 0;
}

void stay_at_thread_end(void (*what)(void)) {
    if (ends < MOST_AT_END)
        at_end[ends++] = what;
}
