/* A process that carries a direct connection's bytes for somebody who has no provider: relay.c, relay_run.c. */
#pragma once

#include "internal.h"

/* A new process carries `conn` (its bell is fd) from now on; returns the Unix stream socket that is its program's
 * end (CLOEXEC; O_NONBLOCK as the program had it), or -1 and errno. Touches no table: also for a child of vfork. */
int relay_start(struct conn *conn, int fd);

/* Every descriptor of this process that means the same connection as fd becomes a relay's end, or TCP where the far
 * end has not answered yet. 0 (also when fd is nothing direct), or -1 and errno with all as it was. */
int relay_replace(int fd);

/* Whether fd is the program's end of a relay, and what TCP would name its ends. */
bool relay_names(int fd, struct vn_address *local, struct vn_address *remote);

void relay_run(struct conn *conn, int bell, int end) __attribute__((noreturn));
