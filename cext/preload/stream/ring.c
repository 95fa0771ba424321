/* The bytes of a connection: see ring.h. */
#include "stream/ring.h"

#include <netinet/tcp.h>
#include <string.h>

#include "stream/large.h"
#include "stream/lock.h"

/* Bytes after which a cursor is shown, so that both ends copy at the same time. */
#define PIECE (32u * 1024)

#define WINDOW (64u * 1024) /* what TCP offers at first to who sends, if nobody has set SO_RCVBUF */

#define POLL_READ (POLLIN | POLLRDNORM)
#define POLL_WRITE (POLLOUT | POLLWRNORM)

/* The other end wrote nonsense, or its bytes can't be had. */
static ssize_t fault(struct conn *conn) {
    conn_break(conn, 0);
    errno = ECONNRESET;
    return -1;
}

/* As many as TCP would have on their way: in the sender's buffer, and in the half of the receiver's that it offers. */
uint64_t stream_bound_by(uint32_t send_buffer, const struct vn_region *reader) {
    uint32_t set = reader != NULL ? atomic_load_explicit(&reader->receive_buffer, memory_order_relaxed) : 0;
    uint64_t bound = (uint64_t)send_buffer + (set != 0 ? set / 2 : WINDOW);
    return bound < VN_RING_BYTES ? bound : VN_RING_BYTES;
}

static uint32_t state_of(const struct vn_region *region) {
    return region != NULL ? atomic_load_explicit(&region->state, memory_order_acquire) : 0;
}

/* No process has the other end any more. Before it is direct that says nothing: an answer may wait at the doorbell. */
static bool is_gone(const struct conn *conn) {
    return atomic_load_explicit(&conn->peer_gone, memory_order_relaxed) && conn->peer != NULL;
}

bool stream_is_closed(struct conn *conn) {
    bool mine = atomic_load(&conn->own->state) & VN_FIN;
    return mine && state_of(conn->peer) & VN_FIN && stream_not_arrived(conn) == 0;
}

/* As TCP: who has had the FIN has EPIPE for the writer, and goes on reading an end. A FIN comes behind all bytes, so it
 * has not come where they fill the window. */
static int error_of_reset(struct conn *conn, uint32_t theirs) {
    if (stream_is_closed(conn))
        return 0;
    uint32_t set = atomic_load_explicit(&conn->own->receive_buffer, memory_order_relaxed);
    uint64_t unread = atomic_load(&conn->peer->head) - atomic_load(&conn->own->tail);
    return theirs & VN_FIN && unread <= (set != 0 ? set / 2 : WINDOW) ? EPIPE : ECONNRESET;
}

void stream_absorb(struct conn *conn) {
    const struct vn_region *peer = conn->peer;
    uint32_t state = state_of(peer);
    if (conn_phase(conn) != CONN_DIRECT || peer == NULL)
        return;
    if (atomic_load(&conn->own->state) & VN_RESET) /* another process has written to an end that is over */
        conn_break(conn, 0);
    else if (state & VN_RESET)
        conn_break(conn, error_of_reset(conn, state));
    else if (is_gone(conn) && !(state & VN_CLOSED) &&
             (atomic_load(&conn->peer_reset) || atomic_load(&peer->tail) != atomic_load(&conn->own->head)))
        conn_break(conn, error_of_reset(conn, state)); /* it died, and left bytes unread, or wanted a reset */
}

/* Whether nothing that is written will be read. */
static bool is_over(struct conn *conn) {
    return is_gone(conn) || (state_of(conn->peer) & (VN_CLOSED | VN_SHUT));
}

/* The ring that a position is in. */
struct ring {
    const char *bytes;     /* NULL: it can't be had, or there is none of its mode */
    uint64_t size, origin; /* size: a power of two */
    uint64_t end;          /* the first position that is not in it */
};

static struct ring ring_at(struct conn *conn, const struct vn_region *region, uint64_t position) {
    struct ring ring = {(const char *)region + VN_CONTROL_BYTES, VN_RING_BYTES,
                        atomic_load_explicit(&region->origin, memory_order_relaxed), UINT64_MAX};
    uint32_t mode = atomic_load_explicit(&region->mode, memory_order_acquire);
    if (LIKELY(mode < VN_LARGE))
        return ring;
    uint64_t from = atomic_load_explicit(&region->large_from, memory_order_relaxed);
    if (position < from) {
        ring.end = from;
        return ring;
    }
    ring.size = VN_LARGE_BYTES;
    ring.origin = atomic_load_explicit(&region->large_origin, memory_order_relaxed);
    ring.bytes = mode != VN_LARGE ? NULL : region == conn->own ? large_own(conn) : large_peer(conn);
    return ring;
}

/* ------------------------------------------------------------------------------------------------------ writing */

/* The first write to who has closed succeeds, as by TCP: that nobody wants it is known only when the reset comes. Who
 * has shut both directions, and not closed, sees that reset as well, so it is reported. */
static ssize_t write_over(struct conn *conn, const struct iovec *iov, int count, size_t skip) {
    const struct vn_region *peer = conn->peer;
    size_t bytes = 0;
    for (int i = 0; i < count; i++)
        bytes += iov[i].iov_len;
    stream_absorb(conn);
    if (conn_phase(conn) == CONN_BROKEN) {
        int error = conn_take_error(conn);
        errno = error != 0 ? error : EPIPE;
        return -1;
    }
    if (bytes == skip)
        return 0;
    atomic_fetch_or(&conn->own->state, VN_RESET);
    /* Of a stream that had filled the ring, some would have been on its way by TCP, and the reset would be here. */
    uint64_t head = conn->own->head;
    bool streamed = peer->tail != head && head - ring_at(conn, conn->own, head).origin >= VN_RING_BYTES;
    if (streamed) {
        conn_break(conn, 0);
        errno = error_of_reset(conn, state_of(peer));
        return -1;
    }
    conn_break(conn, error_of_reset(conn, state_of(peer) | VN_FIN));
    conn->lost = bytes - skip < VN_RING_BYTES ? bytes - skip : VN_RING_BYTES;
    return (ssize_t)conn->lost;
}

static size_t put(const struct ring *ring, uint64_t head, const char *from, size_t bytes) {
    uint64_t at = (head - ring->origin) & (ring->size - 1);
    size_t first = ring->size - at < bytes ? ring->size - at : bytes;
    memcpy((char *)ring->bytes + at, from, first);
    if (UNLIKELY(first < bytes))
        memcpy((char *)ring->bytes, from + first, bytes - first);
    return bytes;
}

/* Everything was read: the ring begins anew, with small messages in the same few lines. */
static void begin_anew(struct vn_region *own, uint64_t head) {
    if (LIKELY(atomic_load_explicit(&own->mode, memory_order_relaxed) < VN_LARGE)) {
        atomic_store_explicit(&own->origin, head, memory_order_relaxed);
        return;
    }
    atomic_store_explicit(&own->large_from, head, memory_order_relaxed);
    atomic_store_explicit(&own->large_origin, head, memory_order_relaxed);
}

static inline void show(_Atomic uint64_t *cursor, uint64_t position) {
    atomic_store_explicit(cursor, position, memory_order_release);
}

static inline void unlock(const struct stream_lock *lock, bool shown) {
    (LIKELY(shown) ? stream_unlock_fenced : stream_unlock)(lock);
}

/* What a write finds before it copies anything: true when it may. Else *result. */
static bool may_write(struct conn *conn, ssize_t *result) {
    enum phase phase = conn_phase(conn);
    *result = 0;
    if (UNLIKELY(phase == CONN_PLAIN || phase == CONN_CONNECTING)) /* since the caller looked */
        return false;
    if (UNLIKELY(state_of(conn->peer) & VN_RESET)) {
        stream_absorb(conn);
        phase = conn_phase(conn);
    }
    bool shut = atomic_load_explicit(&conn->own->state, memory_order_relaxed) & (VN_FIN | VN_RESET);
    if (UNLIKELY(shut && phase == CONN_DIRECT)) { /* an error comes first */
        stream_absorb(conn);
        phase = conn_phase(conn);
    }
    if (UNLIKELY(phase == CONN_BROKEN || shut)) {
        if (!entry_has_descriptors(&conn->entry) && phase != CONN_BROKEN)
            return false; /* another thread has closed it: TCP lets this one wait for room that never comes */
        int error = conn_take_error(conn);
        errno = error != 0 ? error : EPIPE;
        *result = -1;
        return false;
    }
    return true;
}

/* Copies what there is room for. */
static size_t copy_out(struct conn *conn, uint64_t head, uint64_t tail, const struct iovec *iov, int count, size_t skip,
                       const struct ring *ring) {
    uint64_t bound = stream_bound(conn->own, conn->peer), start = head, shown = head;
    for (int i = 0; i < count && head - tail < bound; i++) {
        if (skip >= iov[i].iov_len) {
            skip -= iov[i].iov_len;
            continue;
        }
        const char *from = (const char *)iov[i].iov_base + skip;
        size_t left = iov[i].iov_len - skip;
        skip = 0;
        while (left > 0 && head - tail < bound) {
            size_t room = bound - (head - tail), bytes = left < room ? left : room;
            if (bytes > PIECE)
                bytes = PIECE;
            head += put(ring, head, from, bytes);
            from += bytes;
            left -= bytes;
            if (head - shown >= PIECE)
                show(&conn->own->head, shown = head);
        }
    }
    show(&conn->own->head, head);
    if (head - tail >= bound)
        large_full(conn, head, tail);
    return head - start;
}

static ssize_t write_once(struct conn *conn, const struct iovec *iov, int count, size_t skip) {
    struct vn_region *own = conn->own;
    const struct vn_region *peer = conn->peer;
    uint64_t head = atomic_load_explicit(&own->head, memory_order_relaxed);
    uint64_t tail = peer != NULL ? atomic_load_explicit(&peer->tail, memory_order_acquire) : 0;
    ssize_t result;
    if (UNLIKELY(!may_write(conn, &result)))
        return result;
    if (UNLIKELY(is_over(conn)))
        return write_over(conn, iov, count, skip);
    if (head == tail)
        begin_anew(own, head);
    struct ring ring = ring_at(conn, own, head);
    if (head - tail > ring.size || ring.bytes == NULL)
        return fault(conn);
    return (ssize_t)copy_out(conn, head, tail, iov, count, skip, &ring);
}

ssize_t stream_write(struct conn *conn, const struct iovec *iov, int count, size_t skip) {
    struct stream_lock lock = stream_lock(conn, &conn->own->write_lock);
    ssize_t result = write_once(conn, iov, count, skip);
    unlock(&lock, result > 0);
    return result;
}

ssize_t stream_fill(struct conn *conn, void *buffer, size_t most,
                    ssize_t (*source)(void *about, void *data, size_t bytes), void *about) {
    struct iovec place = {buffer, 0};
    struct stream_lock lock = stream_lock(conn, &conn->own->write_lock);
    ssize_t result;
    if (may_write(conn, &result)) {
        uint64_t used = stream_unread_by_peer(conn), bound = stream_bound(conn->own, conn->peer);
        uint64_t room = is_over(conn) ? most : used < bound ? bound - used : 0;
        result = room > 0 ? source(about, buffer, most < room ? most : (size_t)room) : 0;
        place.iov_len = result > 0 ? (size_t)result : 0;
        if (result > 0)
            result = write_once(conn, &place, 1, 0);
    }
    int saved = errno;
    unlock(&lock, result > 0);
    errno = saved;
    return result;
}

/* ------------------------------------------------------------------------------------------------------ reading */

/* Nothing is there to read: why. True for end of file or an error (-1 in *result); TCP's order. */
static bool has_ended(struct conn *conn, ssize_t *result, bool *end) {
    stream_absorb(conn);
    *end = true;
    if (state_of(conn->peer) & VN_FIN)
        return true;
    if (conn_phase(conn) == CONN_BROKEN && atomic_load(&conn->own->error) != EPIPE) { /* which is for who writes */
        int error = conn_take_error(conn);
        if (error != 0) {
            *end = false;
            errno = error;
            *result = -1;
            return true;
        }
    }
    *end = atomic_load(&conn->own->shut_read) || conn_phase(conn) == CONN_BROKEN || is_gone(conn);
    return *end;
}

/* What can be read now, at *tail; false: nothing, and then *result and *end say why. */
static bool may_read(struct conn *conn, uint64_t *tail, uint64_t *head, ssize_t *result, bool *end) {
    const struct vn_region *peer = conn->peer;
    *result = 0;
    *end = false;
    *tail = atomic_load_explicit(&conn->own->tail, memory_order_relaxed);
    *head = peer != NULL ? atomic_load_explicit(&peer->head, memory_order_acquire) : *tail;
    if (LIKELY(*head != *tail))
        return true;
    if (conn_phase(conn) == CONN_PLAIN || !has_ended(conn, result, end))
        return false;
    if (*result == 0 && peer != NULL) /* the last bytes were shown before the end was */
        *head = atomic_load_explicit(&peer->head, memory_order_acquire);
    if (*result != 0 || *head == *tail)
        return false;
    *end = false;
    return true;
}

/* Copies up to `count` pieces into iov (NULL pointers: nowhere), from tail to at most head. */
static ssize_t copy_in(struct conn *conn, uint64_t tail, uint64_t head, const struct iovec *iov, int count, size_t skip,
                       bool peek) {
    const struct vn_region *peer = conn->peer;
    struct ring ring = ring_at(conn, peer, tail);
    uint64_t start = tail, shown = tail;
    for (int i = 0; i < count && tail != head; i++) {
        if (skip >= iov[i].iov_len) {
            skip -= iov[i].iov_len;
            continue;
        }
        char *to = iov[i].iov_base != NULL ? (char *)iov[i].iov_base + skip : NULL;
        size_t left = iov[i].iov_len - skip;
        skip = 0;
        while (left > 0 && tail != head) {
            if (UNLIKELY(tail == ring.end || ring.bytes == NULL) && (ring = ring_at(conn, peer, tail)).bytes == NULL)
                return fault(conn);
            uint64_t at = (tail - ring.origin) & (ring.size - 1), bytes = head - tail;
            if (bytes > left)
                bytes = left;
            if (bytes > ring.end - tail)
                bytes = ring.end - tail;
            if (bytes > ring.size - at)
                bytes = ring.size - at;
            if (bytes > PIECE)
                bytes = PIECE;
            if (to != NULL) {
                memcpy(to, ring.bytes + at, bytes);
                to += bytes;
            }
            left -= bytes;
            tail += bytes;
            if (!peek && tail - shown >= PIECE)
                show(&conn->own->tail, shown = tail);
        }
    }
    if (!peek)
        show(&conn->own->tail, tail);
    return (ssize_t)(tail - start);
}

void stream_prefetch(struct conn *conn) {
    const struct vn_region *peer = conn->peer;
    if (UNLIKELY(peer == NULL || atomic_load_explicit(&peer->mode, memory_order_relaxed) >= VN_LARGE))
        return;
    uint64_t tail = atomic_load_explicit(&conn->own->tail, memory_order_relaxed);
    uint64_t origin = atomic_load_explicit(&peer->origin, memory_order_relaxed);
    __builtin_prefetch((const char *)peer + VN_CONTROL_BYTES + (tail - origin) % VN_RING_BYTES);
    __builtin_prefetch(&peer->tail);
}

static ssize_t read_once(struct conn *conn, const struct iovec *iov, int count, size_t skip, bool peek, bool *end) {
    uint64_t tail, head;
    ssize_t result;
    if (!may_read(conn, &tail, &head, &result, end))
        return result;
    const struct vn_region *peer = conn->peer;
    uint32_t mode = atomic_load_explicit(&peer->mode, memory_order_acquire);
    if (head - tail > (mode < VN_LARGE ? VN_RING_BYTES : VN_LARGE_BYTES))
        return fault(conn);
    if (UNLIKELY(mode == VN_WISHES))
        large_answer(conn);
    return copy_in(conn, tail, head, iov, count, skip, peek);
}

ssize_t stream_read(struct conn *conn, const struct iovec *iov, int count, size_t skip, bool peek, bool *end) {
    struct stream_lock lock = stream_lock(conn, &conn->own->read_lock);
    ssize_t result = read_once(conn, iov, count, skip, peek, end);
    unlock(&lock, result > 0 && !peek);
    return result;
}

ssize_t stream_pass(struct conn *conn, void *buffer, size_t most,
                    ssize_t (*sink)(void *about, const void *data, size_t bytes), void *about) {
    struct iovec place = {buffer, most};
    struct stream_lock lock = stream_lock(conn, &conn->own->read_lock);
    bool end;
    ssize_t result = read_once(conn, &place, 1, 0, true, &end);
    if (result > 0 && (result = sink(about, buffer, (size_t)result)) > 0) {
        place = (struct iovec){NULL, (size_t)result};
        result = read_once(conn, &place, 1, 0, false, &end);
    }
    int saved = errno;
    unlock(&lock, result > 0);
    errno = saved;
    return result;
}

ssize_t stream_discard(struct conn *conn, size_t bytes, bool peek, bool *end) {
    struct iovec nowhere = {NULL, bytes};
    return stream_read(conn, &nowhere, 1, 0, peek, end);
}

/* ------------------------------------------------------------------------------------------------------- events */

size_t stream_readable(struct conn *conn) {
    const struct vn_region *peer = conn->peer;
    if (peer == NULL)
        return 0;
    uint64_t bytes = atomic_load_explicit(&peer->head, memory_order_acquire) -
                     atomic_load_explicit(&conn->own->tail, memory_order_relaxed);
    return bytes > VN_LARGE_BYTES ? 0 : bytes;
}

size_t stream_unread_by_peer(struct conn *conn) {
    const struct vn_region *peer = conn->peer;
    uint64_t head = atomic_load_explicit(&conn->own->head, memory_order_relaxed);
    return head - (peer != NULL ? atomic_load_explicit(&peer->tail, memory_order_acquire) : 0);
}

size_t stream_not_arrived(struct conn *conn) {
    const struct vn_region *peer = conn->peer;
    uint32_t set = peer != NULL ? atomic_load_explicit(&peer->receive_buffer, memory_order_relaxed) : 0;
    size_t unread = stream_unread_by_peer(conn), window = set != 0 ? set / 2 : WINDOW;
    return conn->lost + (unread > window ? unread - window : 0);
}

static unsigned events_when_broken(struct conn *conn) {
    unsigned events = POLL_WRITE | POLLHUP;
    if (!atomic_load(&conn->dropped))
        events |= POLL_READ | POLLRDHUP;
    return atomic_load(&conn->own->error) != 0 ? events | POLLERR : events;
}

/* The kernel makes a buffer larger for it. Here it means no more than a writer that polls will have written: see has_room. */
size_t stream_low_water(const struct conn *conn) {
    size_t set = atomic_load_explicit(&conn->own->low_water, memory_order_relaxed);
    if (LIKELY(set <= 1) || conn->peer == NULL)
        return set;
    size_t most = (size_t)stream_bound(conn->peer, conn->own) / 4 * 3;
    return set < most ? set : most;
}

static bool has_enough(const struct conn *conn, uint64_t bytes) {
    return bytes != 0 && bytes >= stream_low_water(conn);
}

/* More than a ring unread is nonsense that the next write reports: see write_once. */
static bool has_room(const struct conn *conn) {
    const struct vn_region *peer = conn->peer;
    uint64_t unread = atomic_load_explicit(&conn->own->head, memory_order_relaxed) -
                      (peer != NULL ? atomic_load_explicit(&peer->tail, memory_order_relaxed) : 0);
    return unread <= stream_writable(conn->own, peer) || unread > VN_LARGE_BYTES;
}

unsigned stream_events(struct conn *conn, unsigned wanted) {
    enum phase phase = conn_phase(conn);
    wanted |= POLLHUP | POLLERR;
    if (phase == CONN_CONNECTING || phase == CONN_PLAIN)
        return 0;
    const struct vn_region *peer = conn->peer;
    uint32_t theirs = state_of(peer);
    bool gone = is_gone(conn);
    if (UNLIKELY((theirs & VN_RESET) || gone)) {
        stream_absorb(conn);
        phase = conn_phase(conn);
    }
    if (UNLIKELY(phase == CONN_BROKEN))
        return events_when_broken(conn) & wanted;
    bool mine = atomic_load_explicit(&conn->own->state, memory_order_relaxed) & VN_FIN;
    bool ended = (theirs & VN_FIN) || gone;
    unsigned events = 0;
    if (peer != NULL && has_enough(conn, atomic_load_explicit(&peer->head, memory_order_acquire) -
                                             atomic_load_explicit(&conn->own->tail, memory_order_relaxed)))
        events |= POLL_READ;
    if (UNLIKELY(ended || atomic_load_explicit(&conn->own->shut_read, memory_order_relaxed)))
        events |= POLL_READ | POLLRDHUP | (mine ? POLLHUP : 0);
    if (wanted & POLL_WRITE && (mine || gone || has_room(conn)))
        events |= POLL_WRITE;
    return events & wanted;
}

bool stream_wakes_reader(struct conn *conn) {
    unsigned events = stream_events(conn, POLLIN);
    bool ended = (state_of(conn->peer) & VN_FIN) || is_gone(conn);
    return has_enough(conn, stream_readable(conn)) || (events != 0 && ended && conn_phase(conn) != CONN_BROKEN);
}

bool stream_is_connected(struct conn *conn) {
    stream_absorb(conn);
    uint32_t theirs = state_of(conn->peer);
    enum phase phase = conn_phase(conn);
    if (phase == CONN_CONNECTING || phase == CONN_BROKEN)
        return false;
    if (!(atomic_load(&conn->own->state) & VN_FIN) || !((theirs & VN_FIN) || is_gone(conn)))
        return true;
    return stream_not_arrived(conn) > 0 && !is_gone(conn); /* our FIN is behind them */
}

int stream_tcp_state(struct conn *conn, int state) {
    stream_absorb(conn);
    bool mine = atomic_load(&conn->own->state) & VN_FIN;
    bool theirs = (state_of(conn->peer) & VN_FIN) || is_gone(conn);
    switch (conn_phase(conn)) {
    case CONN_BROKEN: return TCP_CLOSE;
    case CONN_OFFERED:
    case CONN_DIRECT:
        if (mine && theirs)
            return stream_is_connected(conn) ? TCP_LAST_ACK : TCP_CLOSE;
        if (mine) /* the FIN comes behind all bytes */
            return stream_not_arrived(conn) > 0 ? TCP_FIN_WAIT1 : TCP_FIN_WAIT2;
        return theirs ? TCP_CLOSE_WAIT : TCP_ESTABLISHED;
    default: return state;
    }
}
