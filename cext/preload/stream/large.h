/* The large ring of a fast stream. */
#pragma once

#include "stream/conn.h"

char *large_own(struct conn *conn); /* the whole rings, mapped; NULL when that can't be */
const char *large_peer(struct conn *conn);
void large_full(struct conn *conn, uint64_t head, uint64_t tail); /* for who writes, when there is no room */
void large_answer(struct conn *conn);                             /* for who reads: the other end wishes a large ring */
void large_close(struct conn *conn);
