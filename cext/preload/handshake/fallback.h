/* Back to TCP, when nobody takes a client's offer. Theory of operation: fallback.c. */
#pragma once

#include "stream/conn.h"

enum answer { ANSWER_NONE, ANSWER_HERE, ANSWER_WRONG, ANSWER_NEVER };

/* For who serves the connection (handshake/progress.c): the accepting end's region, if its answer is there. */
enum answer progress_take_answer(struct conn *conn, const struct vn_region **region);

/* For who serves the connection alone: its numbers (tcp is one of them) mean nothing to the library any more. Where the
 * other end turns out to have accepted, it is direct instead. */
void fallback(struct conn *conn, int tcp);

/* Its numbers mean the TCP socket alone from now on. */
void fallback_let_numbers_go(struct conn *conn);
