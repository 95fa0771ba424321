/* The bytes of a connection: into the own ring, out of the other's; nothing here waits. */
#pragma once

#include <poll.h>
#include <sys/uio.h>

#include "stream/conn.h"

/* How many bytes may be written and not yet read, and how many so that a descriptor still counts as writable for poll. */
uint64_t stream_bound_by(uint32_t send_buffer, const struct vn_region *reader);
static inline uint64_t stream_bound(const struct vn_region *writer, const struct vn_region *reader) {
    uint32_t set = atomic_load_explicit(&writer->send_buffer, memory_order_relaxed);
    uint32_t mode = atomic_load_explicit(&writer->mode, memory_order_relaxed);
    if (UNLIKELY(set != 0))
        return stream_bound_by(set, reader);
    return LIKELY(mode != VN_LARGE) ? VN_RING_BYTES : VN_LARGE_BYTES - VN_RING_BYTES; /* see large.c */
}
static inline uint64_t stream_writable(const struct vn_region *writer, const struct vn_region *reader) {
    uint64_t bound = stream_bound(writer, reader);
    return bound - bound / 4;
}

void stream_prefetch(struct conn *conn); /* the program is about to read what is there, and to answer */

/* Where these two have moved a cursor, a full fence has followed, as doorbell_ring_if_armed asks for. */
ssize_t stream_write(struct conn *conn, const struct iovec *iov, int count, size_t skip);
/* bytes written after the first `skip` of iov; 0: no room; -1 and errno EPIPE, ECONNRESET */
ssize_t stream_read(struct conn *conn, const struct iovec *iov, int count, size_t skip, bool peek, bool *end);
/* bytes read; 0: nothing there, or *end for end of file; -1 and errno */
/* the same, without copying (MSG_TRUNC) */
ssize_t stream_discard(struct conn *conn, size_t bytes, bool peek, bool *end);
ssize_t stream_fill(struct conn *conn, void *buffer, size_t most,
                    ssize_t (*source)(void *about, void *data, size_t bytes), void *about);
/* writes what `source` gives, which is asked for no more than there is room for; its result, or as stream_write */
ssize_t stream_pass(struct conn *conn, void *buffer, size_t most,
                    ssize_t (*sink)(void *about, const void *data, size_t bytes), void *about);
/* reads what `sink` takes of what is there, shown to it in the buffer; sink's result, or as stream_read */
size_t stream_readable(struct conn *conn);        /* bytes (0 also for end of file) */
bool stream_is_closed(struct conn *conn);         /* both FINs have come: nobody is there whom a reset could find */
size_t stream_not_arrived(struct conn *conn);     /* what TCP would still have at this end */
size_t stream_low_water(const struct conn *conn); /* bytes that SO_RCVLOWAT waits for; 0 or 1 if it is not set */
size_t stream_unread_by_peer(struct conn *conn);  /* bytes that were written and not read */

/* What of `wanted`, and of POLLHUP and POLLERR, is true now, from memory: POLLIN, POLLRDHUP and POLLOUT, also as POLLRDNORM
 * and POLLWRNORM. Whether there is room is not looked for unasked: the other end has just written the line that tells it. */
unsigned stream_events(struct conn *conn, unsigned wanted);

/* as TCP when SO_RCVLOWAT changes: enough bytes, or a FIN and no reset */
bool stream_wakes_reader(struct conn *conn);

/* A reset that the other end has said, or its death with bytes unread, becomes CONN_BROKEN and the pending error. */
void stream_absorb(struct conn *conn);
bool stream_is_connected(struct conn *conn);        /* as getpeername has it: not after a reset or both ends' FIN */
int stream_tcp_state(struct conn *conn, int state); /* what TCP_INFO would say, where the TCP socket says `state` */
