/* Whether the other end has died, for who does not sleep: theory of operation in deaths.c. */
#pragma once

#include "stream/conn.h"

/* Asks the kernel now. What it says is kept in conn->peer_gone. *asked: all that are watched were asked in this call
 * already; one look at many connections begins with false. */
void deaths_look(struct conn *conn, int fd, bool *asked);

void deaths_look_by_time(struct conn *conn, int fd); /* the same, if that was not asked lately */
void deaths_look_since(struct conn *conn, int fd, uint64_t now, bool *asked); /* the same at many; now: ticks_now() */
void deaths_after_fork(void);
