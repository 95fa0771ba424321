/* Which handlers let a call be restarted. A wait of ours is not restarted by the kernel, so it has to know.
 *
 * Where all handlers agree, the answer for each EINTR is the same. Where they do not, a wait blocks the signals and
 * watches a signalfd instead: then it can see which ones have come before their handlers run (wait/sleeper.c). */
#include "base/signals.h"

#include <pthread.h>

static _Atomic uint32_t changes = 1;
static _Atomic uint32_t seen;
static _Atomic int last;

#define FIRST_INTERNAL 32   /* the C library's own real-time signals, for cancellation and set*id */
#define LAST_INTERNAL 33

void signals_all(sigset_t *set) {
    sigfillset(set);
    for (int signal = FIRST_INTERNAL; signal <= LAST_INTERNAL; signal++)
        sigdelset(set, signal);   /* fails where the C library hides them, and has left them out */
}

void signals_block(sigset_t *before) {
    sigset_t all;
    signals_all(&all);
    pthread_sigmask(SIG_SETMASK, &all, before);
}

void signals_restore(const sigset_t *before) {
    pthread_sigmask(SIG_SETMASK, before, NULL);
}

void signals_shield(struct shield *shield) {
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &shield->cancelling);
    signals_block(&shield->mask);
}

void signals_unshield(const struct shield *shield) {
    signals_restore(&shield->mask);
    pthread_setcancelstate(shield->cancelling, NULL);
}

static bool has_handler(int signal, bool *restarts) {
    struct sigaction action;
    if (sigaction(signal, NULL, &action) != 0 || action.sa_handler == SIG_DFL || action.sa_handler == SIG_IGN)
        return false;
    *restarts = (action.sa_flags & SA_RESTART) != 0;
    return true;
}

static enum restarting look(void) {
    bool some = false, others = false, restarts;
    for (int signal = 1; signal < NSIG; signal++)
        if (has_handler(signal, &restarts))
            *(restarts ? &some : &others) = true;
    return !others ? RESTART_ALWAYS : some ? RESTART_MIXED : RESTART_NEVER;
}

enum restarting signals_restarting(void) {
    uint32_t now = atomic_load(&changes);
    if (UNLIKELY(atomic_load(&seen) != now)) {
        atomic_store(&last, look());
        atomic_store(&seen, now);
    }
    return (enum restarting)atomic_load(&last);
}

void signals_changed(void) {
    atomic_fetch_add(&changes, 1);
}

bool signals_pending_interrupt(const sigset_t *mask) {
    sigset_t pending;
    bool restarts;
    if (sigpending(&pending) != 0)
        return true;
    for (int signal = 1; signal < NSIG; signal++)
        if (sigismember(&pending, signal) == 1 && sigismember(mask, signal) == 0 &&
            has_handler(signal, &restarts) && !restarts)
            return true;
    return false;
}

bool signals_stay_pending(const sigset_t *mask) {
    sigset_t pending;
    if (sigpending(&pending) != 0)
        return false;
    for (int signal = 1; signal < NSIG; signal++)
        if (sigismember(&pending, signal) == 1 && sigismember(mask, signal) == 1)
            return true;
    return false;
}
