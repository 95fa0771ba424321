/* A process that carries a direct connection's bytes for somebody who has no library: start.c, run.c, name.c. */
#pragma once

#include "stream/conn.h"

/* A new process carries `conn`, which is direct and has the number fd, from now on; returns the Unix stream socket that
 * is its program's end (CLOEXEC; O_NONBLOCK as the program had it), or -1 and errno. Touches no table: also for a child
 * of vfork. */
int relay_start(struct conn *conn, int fd);

/* Every descriptor of this process that means the same connection as fd becomes a relay's end, or TCP where the far
 * end has not answered yet. 0 (also when fd is nothing direct), or -1 and errno with all as it was. */
int relay_replace(int fd);

void relay_replace_all(void); /* of the process; not in a child of vfork */

/* name.c: the name of a relay's end says what TCP would name the connection's ends. */
void relay_give_name(int end, const struct vn_region *region);
bool relay_names(int fd, struct vn_address *local, struct vn_address *remote); /* false: fd is no relay's end */

void relay_run(struct conn *conn, int tcp, int end) __attribute__((noreturn));
