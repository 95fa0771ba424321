/* poll for sets with descriptors that the library knows. */
#pragma once

#include <poll.h>
#include <signal.h>

#include "base/common.h"

bool poll_has_direct(const struct pollfd *fds, nfds_t count); /* the library knows one of them */

/* As ppoll, with a time-out in ns (FOR_EVER of wait/sleeper.h: none). */
int poll_direct(struct pollfd *fds, nfds_t count, uint64_t timeout, const sigset_t *mask);
