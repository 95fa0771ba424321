/* Which targets can be ruled out without a round trip, by names that the broker binds in each namespace. */
#pragma once

#include "abi/socket_layout.h"
#include "base/common.h"

enum presence {
    PRESENCE_UNKNOWN,
    PRESENCE_ALONE,    /* no broker serves this namespace */
    PRESENCE_OUTSIDE,  /* no partition has it */
    PRESENCE_SILENT,   /* one has, but nobody with the library listens at its port anywhere */
    PRESENCE_POSSIBLE, /* it may be direct */
};
enum presence presence_look(const struct vn_address *target);
