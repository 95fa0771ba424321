/* Whether a connection to a target may be direct, and where it can't, why. */
#pragma once

#include "abi/socket_layout.h"
#include "base/common.h"

enum vn_why policy_decide(const struct vn_address *target);   /* VN_WHY_direct: it may; errno stays */
