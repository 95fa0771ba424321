/* Whether a connection to a target may be direct, and where it can't, why. */
#pragma once

#include "abi/socket_layout.h"
#include "base/common.h"

enum vn_reason policy_decide(const struct vn_address *target); /* VN_REASON_direct: it may; errno stays */

/* A seccomp filter may kill for system calls that the program does not make itself: from now on all that is new is TCP. */
void policy_seal(void);
bool policy_is_sealed(void);
