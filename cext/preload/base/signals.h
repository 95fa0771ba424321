/* Signals that interrupt a wait, and stretches of code in which no handler runs. */
#pragma once

#include <pthread.h>
#include <signal.h>

#include "base/common.h"

/* All but those that the C library uses itself, for cancellation and set*id. */
void signals_all(sigset_t *set);

/* Blocks all of these for this thread, and gives back the mask of before. */
void signals_block(sigset_t *before);
void signals_restore(const sigset_t *before);

/* Neither a handler nor a cancellation ends what is done between the two. */
struct shield {
    sigset_t mask;
    int cancelling;
};
void signals_shield(struct shield *shield);
void signals_unshield(const struct shield *shield);

/* What the handlers of the process ask of a call that TCP would restart: see SA_RESTART. */
enum restarting { RESTART_ALWAYS, RESTART_NEVER, RESTART_MIXED };
enum restarting signals_restarting(void);
void signals_changed(void);   /* a handler was set: signals_restarting looks again */

/* Of the signals that wait for this thread although `mask` lets them through: whether one has a handler without
 * SA_RESTART. Call with all signals blocked. */
bool signals_pending_interrupt(const sigset_t *mask);
bool signals_stay_pending(const sigset_t *mask);   /* one waits that `mask` does not let through */

/* ------------------------------------------------------------------------------------------------ handlers wait */

/* Between hold and release no handler of the program runs in this thread: one that comes meanwhile waits, and runs at the
 * release, as it would at the end of a system call. The two nest. Theory of operation: signals.c. */
struct handlers {
    unsigned depth;     /* holds that were not released yet */
    unsigned waiting;   /* signals whose handlers wait */
};
extern __thread struct handlers handlers;

void handlers_run(void);   /* those that wait */

static inline void handlers_hold(void) {
    handlers.depth++;
    atomic_signal_fence(memory_order_seq_cst);
}

static inline void handlers_release(void) {
    atomic_signal_fence(memory_order_seq_cst);
    if (--handlers.depth == 0 && UNLIKELY(handlers.waiting != 0))
        handlers_run();
}

/* Held to the end of the block that this stands in. */
#define HANDLERS_WAIT() \
    handlers_hold(); \
    __attribute__((cleanup(handlers_released), unused)) char handlers_held

static inline void handlers_released(const char *unused) {
    (void)unused;
    handlers_release();
}

/* Around a system call that may sleep: handlers run in it, and may jump out of it or end the thread. What waits runs
 * before it; or, where the call has a mask, in it, and ends it with EINTR: it uses the one that is returned (NULL: the
 * thread's own). */
struct opening {
    unsigned depth;
    bool masked;        /* all is blocked; the thread's own mask is this one: */
    sigset_t mask;
};
void handlers_open(struct opening *opening);
const sigset_t *handlers_open_with(struct opening *opening, const sigset_t *mask);
void handlers_close(const struct opening *opening);

int handlers_action(int signal, const struct sigaction *action, struct sigaction *old);   /* sigaction */
void handlers_after_fork(void);   /* in the child: what waits is the parent's */

/* Who jumped out with a mutex, or called from a handler what needs it again, would stop all others. */
static inline void mutex_lock(pthread_mutex_t *mutex) {
    handlers_hold();
    pthread_mutex_lock(mutex);
}

static inline void mutex_unlock(pthread_mutex_t *mutex) {
    pthread_mutex_unlock(mutex);
    handlers_release();
}
