/* A blocking call's wait for one connection. */
#pragma once

#include "stream/conn.h"

/* Polls, then sleeps, until one of events (POLLIN, POLLOUT; also an error or hangup) is true, or it is CONN_PLAIN: 0; or
 * -1 and EAGAIN (deadline; 0: none), EINTR; ERESTART: a handler has run, TCP would make the call anew, and fd does not
 * mean the connection any more or does not block any more. partial: the call has moved some bytes, so any handler ends it. */
int block(struct conn *conn, int fd, unsigned events, uint64_t deadline_ns, bool partial);

/* The same for reading, until so many bytes are there, or the end. */
int block_for_bytes(struct conn *conn, int fd, size_t bytes, uint64_t deadline_ns, bool partial);

/* At the end of a call that may have blocked: it may have been the last that keeps a connection which was closed. */
void block_done(struct conn *conn);

void block_look(struct conn *conn, int fd); /* for who does not wait, before it says EAGAIN */

/* Of SO_RCVTIMEO or SO_SNDTIMEO: 0 for none. */
static inline uint64_t block_deadline(const _Atomic uint64_t *timeout_ns) {
    uint64_t ns = atomic_load_explicit(timeout_ns, memory_order_relaxed);
    return ns != 0 ? now_ns() + ns : 0;
}
