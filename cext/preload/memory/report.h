/* What this process reports to `vnicctl sockets`: the decisions that it has made. */
#pragma once

#include "abi/socket_layout.h"
#include "base/common.h"

void report(enum vn_reason reason, const struct vn_address *target, int fd); /* errno stays */
void report_seal(void);             /* the page is made now, or never: system calls may be forbidden from now on */
bool file_may_have(uint64_t bytes); /* RLIMIT_FSIZE, beyond which a signal would end the program */

void report_before_fork(void);
void report_after_fork_here(void);
void report_after_fork(void);
