/* Signals that interrupt a wait, and short stretches that no handler may interrupt. */
#pragma once

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
