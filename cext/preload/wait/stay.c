/* What a call holds while it sleeps: see stay.h. */
#include "wait/stay.h"

#include <pthread.h>
#include <signal.h>

#include "base/signals.h"

#define MOST_STAYS 8     /* handlers that interrupt each other's calls */
#define MOST_AT_END 4

static __thread struct stay stays[MOST_STAYS], beyond;   /* beyond: not recorded */
static __thread unsigned count;
static __thread bool will_end;
static __thread uint64_t marks = 0x5d0c0ull << 40;
static pthread_key_t key;
static void (*at_end[MOST_AT_END])(void);
static unsigned ends;

static void give_back(void) {
    struct stay gone = stays[--count];
    gone.leave(&gone);
}

/* Whether the frame is gone: others have its place, or it lies above all that run now, unless these have another stack. */
static bool is_gone(const struct stay *stay) {
    stack_t stack;
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    if (sigaltstack(NULL, &stack) == 0 && (stack.ss_flags & SS_ONSTACK))
        return false;
    return here >= (uintptr_t)stay->mark || *stay->mark != stay->number;
}

void stay_settle(void) {
    HANDLERS_WAIT();
    while (UNLIKELY(count > 0) && is_gone(&stays[count - 1]))
        give_back();
}

struct stay *stay_begin(struct mark *mark, void (*leave)(struct stay *stay), void *what) {
    if (UNLIKELY(count > 0))
        stay_settle();
    if (UNLIKELY(!will_end))
        will_end = pthread_setspecific(key, &will_end) == 0;
    mark->number = ++marks;
    struct stay *stay = LIKELY(count < MOST_STAYS) ? &stays[count++] : &beyond;
    *stay = (struct stay){leave, what, 0, 0, &mark->number, mark->number};
    return stay;
}

void stay_end(struct stay *stay) {
    if (UNLIKELY(stay == &beyond))
        return;
    while (UNLIKELY(&stays[count - 1] != stay))   /* of a handler's calls that were left by a jump into the handler */
        give_back();
    count--;
}

static void thread_ends(void *unused) {
    (void)unused;
    while (count > 0)
        give_back();
    for (unsigned i = 0; i < ends; i++)
        at_end[i]();
    handlers.depth = 0;
    if (handlers.waiting != 0)   /* a signal of the process is not to die with the thread */
        handlers_run();
}

bool stay_init(void) {
    return pthread_key_create(&key, thread_ends) == 0;
}

void stay_at_thread_end(void (*what)(void)) {
    if (ends < MOST_AT_END)
        at_end[ends++] = what;
}
