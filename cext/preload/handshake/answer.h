/* The accepting end of a connection that was offered. */
#pragma once

#include "stream/conn.h"

/* Takes over the doorbell and the memfd of an offer. NULL when it can't be accepted: then the other end is notified by the
 * doorbell's end, and the connection is TCP. tcp is the accepted socket. */
struct conn *answer(int doorbell, int memfd, const struct vn_address *local, const struct vn_address *remote, int tcp);
