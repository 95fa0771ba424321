/* What a call holds while it sleeps, noted where it outlives the call.
 *
 * A handler may jump out of the sleep, and the thread may be cancelled in it, so nothing may depend on the return of the
 * call. What it holds stands in a record of the thread. The next call of the thread that finds the record of a frame that
 * is gone gives it all back, and so does the thread's end. */
#pragma once

#include "base/common.h"

struct stay {
    void (*leave)(struct stay *stay); /* gives back what the call holds */
    void *what;
    unsigned armed; /* for leave, as what follows */
    size_t bytes;
    /* in the call's frame, with the value `number` as long as that is not used for others */
    const volatile uint64_t *mark;
    uint64_t number;
};

struct mark {
    volatile uint64_t number;
    struct stay beyond; /* where there is no record left */
};

/* mark: in the frame that ends the stay. Calls that a handler makes have stays inside another. */
struct stay *stay_begin(struct mark *mark, void (*leave)(struct stay *stay), void *what);
void stay_end(struct stay *stay);

bool stay_is_inside(void); /* the thread is in a call that sleeps, whose handler is running */
void stay_settle(void);    /* gives back what those hold that have been left by a jump */

bool stay_init(void);
void stay_at_thread_end(void (*what)(void)); /* of a thread that has stayed, after its stays are given back */
