/* select and pselect. */
#pragma once

#include <signal.h>
#include <sys/select.h>

#include "base/common.h"

bool select_has_direct(int count, fd_set *reads, fd_set *writes, fd_set *excepts); /* the library knows one of them */
int select_any(int count, fd_set *reads, fd_set *writes, fd_set *excepts, struct timeval *time);
int pselect_any(int count, fd_set *reads, fd_set *writes, fd_set *excepts, const struct timespec *time,
                const sigset_t *mask);
