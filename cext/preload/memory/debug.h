/* VNICD_DEBUG=1: what the library decides and does, a line for each on standard error. */
#pragma once

#include "abi/socket_layout.h"
#include "base/common.h"

/* errno stays, in all of these */
void debug_decision(enum vn_reason reason, const struct vn_address *target, int fd);
void debug_phase(uint32_t serial, const struct vn_region *own, const char *from, const char *to);
void debug_relay(uint32_t serial, const struct vn_region *own, int fd);
