/* Signals that interrupt a wait, and stretches of code in which no handler runs. */
#pragma once

#include <pthread.h>
#include <signal.h>

#include "base/common.h"

#define KERNEL_MASK_BYTES 8 /* of a set of signals */

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

bool signals_all_restart(void); /* every handler of the process lets a call go on (SA_RESTART) */
void signals_changed(void);     /* a handler was set: signals_all_restart looks again */

void signals_broken_pipe(void); /* SIGPIPE as the kernel sends it */

/* ------------------------------------------------------------------------------------------------ handlers wait */

/* Between hold and release no handler of the program runs in this thread: one that comes meanwhile waits, and runs at the
 * release, as it would at the end of a system call. The two nest. Theory of operation: signals.c. */
struct handlers {
    unsigned depth;      /* holds that were not released yet */
    unsigned waiting;    /* signals whose handlers wait */
    unsigned runs, ends; /* handlers that have run in this thread; those without SA_RESTART */
};
extern __thread struct handlers handlers;

void handlers_run(void); /* those that wait */

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

/* Around a system call that may sleep: handlers run in it, and may jump out of it or end the thread. Those that wait
 * run before it: true, and then a sleep would be over already. */
struct opening {
    unsigned depth, runs, ends;
};
bool handlers_open(struct opening *opening);

/* Which handlers have run since then; those without SA_RESTART count before the others. */
enum interruption { INTERRUPTION_NONE, INTERRUPTION_RESTARTS, INTERRUPTION_ENDS };
enum interruption handlers_close(const struct opening *opening);

void handlers_restart(int signal, bool restarts); /* SA_RESTART was set or taken away */
int handlers_action(int signal, const struct sigaction *action, struct sigaction *old); /* sigaction */
/* rt_sigaction; true: done */
bool handlers_system_call(int signal, void *action, void *old, size_t bytes, long *result);
void handlers_after_fork(void); /* in the child: what waits is the parent's */

/* Who jumped out with a mutex, or called from a handler what needs it again, would stop all others. */
static inline void mutex_lock(pthread_mutex_t *mutex) {
    handlers_hold();
    pthread_mutex_lock(mutex);
}

static inline void mutex_unlock(pthread_mutex_t *mutex) {
    pthread_mutex_unlock(mutex);
    handlers_release();
}
