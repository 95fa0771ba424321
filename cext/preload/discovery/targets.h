/* What earlier connections of this process have shown of their targets. */
#pragma once

#include "abi/socket_layout.h"
#include "base/common.h"

enum target {
    TARGET_UNKNOWN,
    TARGET_DIRECT,      /* one was direct, lately or not */
    TARGET_DEFERS,      /* one was, but only after its first byte had gone by TCP */
    TARGET_SILENT,      /* somebody listens without the library: known for a second */
    TARGET_FELL_BACK,   /* nobody took an offer: known for the longer, the more often it happens in a row */
    TARGET_SHORT_LIVED, /* connections to it are made fast and end soon: see targets_ended */
};

enum target targets_lookup(const struct vn_address *target);
void targets_learn(const struct vn_address *target, enum target what);

/* A direct connection to the target has ended. short_lived: what was sent on it was not worth the means of making it. */
void targets_ended(const struct vn_address *target, bool short_lived);

void targets_before_fork(void);
void targets_after_fork_here(void);
void targets_after_fork(void);
