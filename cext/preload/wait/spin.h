/* Polling before sleeping: how long it is worth while is learnt from how long the last sleeps were. */
#pragma once

#include "base/common.h"

#define LOOKS_A_YIELD 16

struct spin {
    uint64_t now;         /* when the clock was read last, or 0 */
    uint64_t until, lent; /* lent: ns given to others by long yields */
    unsigned looks;
    _Atomic uint64_t *learnt;
};

/* learnt: ns, where the caller keeps what was learnt (starts as 0) */
void spin_start(struct spin *spin, _Atomic uint64_t *learnt);
bool spin_on(struct spin *spin);                 /* false when it is time to sleep; yields now and then */
bool spin_shares(void);                          /* this thread's CPU is one of others' too: do less in each look */
void spin_slept(struct spin *spin, uint64_t ns); /* how long the sleep after it was; 0: polling was enough */
void spin_paid(const struct spin *spin);         /* polling was enough; nothing is to be learnt from that */
