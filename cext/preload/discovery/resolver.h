/* Reaching the broker, and asking its resolver about one target. */
#pragma once

#include "abi/socket_layout.h"
#include "base/common.h"

#define BROKER_TIMEOUT_US 100000 /* for an answer; then who owes it is left alone for BROKER_PAUSE_NS */
#define BROKER_PAUSE_NS SECOND_NS

/* a connection to the broker (""), or to another name of its; -1. It waits no longer than BROKER_TIMEOUT_US, with
 * SOCK_NONBLOCK not at all */
int broker_call(const char *which, int flags);

/* Whether a connection to target may be direct, or why not; the table is taken on the way. False: no resolver answers. */
bool resolver_ask(const struct vn_address *target, enum vn_reason *reason);
