/* The bytes of a connection: into the own ring, out of the other's; nothing here waits. */
#include "internal.h"
#include "parts.h"

#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/single_threaded.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Bytes after which a cursor is shown, so that both ends copy at the same time. */
#define PIECE (32u * 1024)

/* What TCP offers at first to who sends, if nobody has set SO_RCVBUF. */
#define WINDOW (64u * 1024)

/* One writer and one reader at a time, among the threads and processes that have this end. A holder may be killed. */
static bool lock(struct conn *conn, _Atomic uint32_t *word) {
    static __thread uint32_t self;
    static __thread pid_t self_pid;
    uint32_t holder = 0;
    if (__libc_single_threaded && !conn->own->forked)
        return false;
    if (self == 0 || self_pid != vn_pid) {
        self = (uint32_t)syscall(SYS_gettid);
        self_pid = vn_pid;
    }
    for (unsigned tries = 1; !atomic_compare_exchange_weak_explicit(word, &holder, self, memory_order_acquire,
                                                                    memory_order_relaxed); tries++) {
        if (tries % 64 == 0)
            sched_yield();
        if (tries % 65536 == 0 && holder != 0 && syscall(SYS_tkill, holder, 0) != 0 && errno == ESRCH)
            atomic_compare_exchange_strong(word, &holder, 0);
        holder = 0;
    }
    return true;
}

static void unlock(bool locked, _Atomic uint32_t *word) {
    if (locked)
        atomic_store_explicit(word, 0, memory_order_release);
}

/* The other end wrote nonsense, or its bytes can't be had. */
static ssize_t fault(struct conn *conn) {
    atomic_store(&conn->error, ECONNRESET);
    atomic_store(&conn->phase, VN_BROKEN);
    errno = ECONNRESET;
    return -1;
}

/* As many as TCP would have on their way: in the sender's buffer, and in the half of the receiver's that it offers. */
uint64_t stream_bound_by(uint32_t send_buffer, const struct vn_half *reader) {
    uint32_t set = reader != NULL ? atomic_load_explicit(&reader->receive_buffer, memory_order_relaxed) : 0;
    uint64_t bound = (uint64_t)send_buffer + (set != 0 ? set / 2 : WINDOW);
    return bound < VN_RING_BYTES ? bound : VN_RING_BYTES;
}

/* The error to report, once. */
static int error_of(struct conn *conn) {
    return conn->error != 0 ? atomic_exchange(&conn->error, 0) : 0;
}

/* Whether the other end is gone for good, so that nothing that is written will be read. */
static bool is_over(const struct conn *conn) {
    return conn->bell_ended || (conn->peer != NULL && (conn->peer->state & (VN_CLOSED | VN_RESET)));
}

/* The ring that a position is in. */
struct ring {
    const char *bytes;   /* NULL: it can't be had, or there is none of its mode */
    uint64_t size, origin;
    uint64_t end;        /* the first position that is not in it */
};

static struct ring ring_at(struct conn *conn, const struct vn_half *half, uint64_t position) {
    struct ring ring = {(const char *)half + VN_CONTROL_BYTES, VN_RING_BYTES,
                        atomic_load_explicit(&half->origin, memory_order_relaxed), UINT64_MAX};
    uint32_t mode = atomic_load_explicit(&half->mode, memory_order_acquire);
    if (LIKELY(mode < VN_LARGE))
        return ring;
    uint64_t from = atomic_load_explicit(&half->large_from, memory_order_relaxed);
    if (position < from) {
        ring.end = from;
        return ring;
    }
    ring.size = VN_LARGE_BYTES;
    ring.origin = atomic_load_explicit(&half->large_origin, memory_order_relaxed);
    ring.bytes = mode != VN_LARGE ? NULL : half == conn->own ? large_own(conn) : large_peer(conn);
    return ring;
}

/* The first write to who has closed succeeds, as by TCP: that nobody wants it is known only when the reset comes. */
static ssize_t write_over(struct conn *conn, const struct iovec *iov, int count, size_t skip) {
    const struct vn_half *peer = conn->peer;
    size_t bytes = 0;
    for (int i = 0; i < count; i++)
        bytes += iov[i].iov_len;
    if (bytes == skip)
        return 0;
    conn->phase = VN_BROKEN;
    /* Of a stream that had filled the ring, some would have been on its way by TCP, and the reset would be here. */
    uint64_t head = conn->own->head;
    bool streamed = head - ring_at(conn, conn->own, head).origin >= VN_RING_BYTES;
    if (peer == NULL || peer->state & VN_RESET || peer->tail != head || streamed) {
        errno = peer != NULL && (peer->state & (VN_FIN | VN_RESET)) == VN_FIN ? EPIPE : ECONNRESET;
        return -1;
    }
    conn->error = EPIPE;
    return (ssize_t)(bytes - skip < VN_RING_BYTES ? bytes - skip : VN_RING_BYTES);
}

static size_t put(const struct ring *ring, uint64_t head, const char *from, size_t bytes) {
    uint64_t at = (head - ring->origin) % ring->size;
    size_t first = ring->size - at < bytes ? ring->size - at : bytes;
    memcpy((char *)ring->bytes + at, from, first);
    memcpy((char *)ring->bytes, from + first, bytes - first);
    return bytes;
}

/* Everything was read: the ring begins anew, with small messages in the same few lines. */
static void begin_anew(struct vn_half *own, uint64_t head) {
    if (LIKELY(atomic_load_explicit(&own->mode, memory_order_relaxed) < VN_LARGE)) {
        atomic_store_explicit(&own->origin, head, memory_order_relaxed);
        return;
    }
    atomic_store_explicit(&own->large_from, head, memory_order_relaxed);
    atomic_store_explicit(&own->large_origin, head, memory_order_relaxed);
}

static ssize_t write_locked(struct conn *conn, const struct iovec *iov, int count, size_t skip) {
    struct vn_half *own = conn->own;
    uint64_t head = atomic_load_explicit(&own->head, memory_order_relaxed);
    uint64_t tail = conn->peer != NULL ? atomic_load_explicit(&conn->peer->tail, memory_order_acquire) : 0;
    uint64_t start = head, shown = head;
    if (UNLIKELY(conn->phase == VN_PLAIN))   /* since the caller looked */
        return 0;
    if (atomic_load_explicit(&own->state, memory_order_relaxed) & VN_FIN || conn->phase == VN_BROKEN) {
        int error = error_of(conn);
        errno = error != 0 ? error : EPIPE;
        return -1;
    }
    if (UNLIKELY(is_over(conn)))
        return write_over(conn, iov, count, skip);
    if (head == tail)
        begin_anew(own, head);
    struct ring ring = ring_at(conn, own, head);
    if (head - tail > ring.size || ring.bytes == NULL)
        return fault(conn);
    uint64_t bound = stream_bound(own, conn->peer);
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
            head += put(&ring, head, from, bytes);
            from += bytes;
            left -= bytes;
            if (head - shown >= PIECE)
                atomic_store_explicit(&own->head, shown = head, memory_order_release);
        }
    }
    uint64_t reach = head - ring.origin;
    if (UNLIKELY(reach > own->reach))
        own->reach = reach < VN_RING_BYTES ? (uint32_t)reach : VN_RING_BYTES;
    atomic_store_explicit(&own->head, head, memory_order_release);
    if (head - tail >= bound)
        large_full(conn, head, tail);
    return (ssize_t)(head - start);
}

ssize_t stream_write(struct conn *conn, const struct iovec *iov, int count, size_t skip) {
    bool locked = lock(conn, &conn->own->write_lock);
    ssize_t result = write_locked(conn, iov, count, skip);
    unlock(locked, &conn->own->write_lock);
    return result;
}

bool stream_stop(struct conn *conn) {
    return lock(conn, &conn->own->write_lock);
}

void stream_go(struct conn *conn, bool stopped) {
    unlock(stopped, &conn->own->write_lock);
}

/* Nothing is there to read: why. True for end of file or an error (-1 in *result). */
static bool ended(struct conn *conn, ssize_t *result, bool *end) {
    const struct vn_half *peer = conn->peer;
    uint32_t state = peer != NULL ? atomic_load_explicit(&peer->state, memory_order_acquire) : 0;
    int error = conn->shut_read || conn->error == EPIPE ? 0 : error_of(conn);   /* EPIPE is for who writes */
    if ((*end = conn->shut_read))
        return true;
    if (error == 0 && (state & VN_RESET) && conn->phase != VN_BROKEN) {
        error = ECONNRESET;
        conn->phase = VN_BROKEN;
    }
    if (error == 0 && conn->bell_ended && conn->phase != VN_BROKEN && !(state & VN_FIN)) {
        /* It died. As TCP has it: a reset when it had not read all that was sent to it, else an end. */
        if (peer == NULL || atomic_load(&peer->tail) != atomic_load(&conn->own->head)) {
            conn->phase = VN_BROKEN;
            error = ECONNRESET;
        }
    }
    if (error != 0) {
        errno = error;
        *result = -1;
        return true;
    }
    *end = conn->phase == VN_BROKEN || conn->bell_ended || (state & VN_FIN);
    return *end;
}

static ssize_t read_locked(struct conn *conn, const struct iovec *iov, int count, size_t skip, bool peek, bool *end) {
    const struct vn_half *peer = conn->peer;
    uint64_t tail = atomic_load_explicit(&conn->own->tail, memory_order_relaxed), start = tail, shown = tail, head = 0;
    ssize_t result = 0;
    if (peer != NULL)
        head = atomic_load_explicit(&peer->head, memory_order_acquire);
    if (head == tail || peer == NULL) {
        if (!ended(conn, &result, end))
            return 0;
        if (result == 0 && peer != NULL)   /* the last bytes were shown before the end was */
            head = atomic_load_explicit(&peer->head, memory_order_acquire);
        if (result != 0 || peer == NULL || head == tail)
            return result;
        *end = false;
    }
    uint32_t mode = atomic_load_explicit(&peer->mode, memory_order_acquire);
    struct ring ring = ring_at(conn, peer, tail);
    if (head - tail > (mode < VN_LARGE ? VN_RING_BYTES : VN_LARGE_BYTES) || ring.bytes == NULL)
        return fault(conn);
    if (UNLIKELY(mode == VN_WISHES))
        large_answer(conn);
    for (int i = 0; i < count && tail != head; i++) {
        if (skip >= iov[i].iov_len) {
            skip -= iov[i].iov_len;
            continue;
        }
        char *to = (char *)iov[i].iov_base + skip;
        size_t left = iov[i].iov_len - skip;
        skip = 0;
        while (left > 0 && tail != head) {
            if (UNLIKELY(tail == ring.end) && (ring = ring_at(conn, peer, tail)).bytes == NULL)
                return fault(conn);
            uint64_t at = (tail - ring.origin) % ring.size, bytes = head - tail;
            if (bytes > left)
                bytes = left;
            if (bytes > ring.end - tail)
                bytes = ring.end - tail;
            if (bytes > ring.size - at)
                bytes = ring.size - at;
            if (bytes > PIECE)
                bytes = PIECE;
            memcpy(to, ring.bytes + at, bytes);
            to += bytes;
            left -= bytes;
            tail += bytes;
            if (!peek && tail - shown >= PIECE)
                atomic_store_explicit(&conn->own->tail, shown = tail, memory_order_release);
        }
    }
    if (!peek)
        atomic_store_explicit(&conn->own->tail, tail, memory_order_release);
    return (ssize_t)(tail - start);
}

ssize_t stream_read(struct conn *conn, const struct iovec *iov, int count, size_t skip, bool peek, bool *end) {
    bool locked = lock(conn, &conn->own->read_lock);
    *end = false;
    ssize_t result = read_locked(conn, iov, count, skip, peek, end);
    unlock(locked, &conn->own->read_lock);
    return result;
}

size_t stream_readable(struct conn *conn) {
    if (conn->peer == NULL)
        return 0;
    uint64_t bytes = atomic_load_explicit(&conn->peer->head, memory_order_acquire) -
                     atomic_load_explicit(&conn->own->tail, memory_order_relaxed);
    return bytes > VN_LARGE_BYTES ? 0 : bytes;
}

unsigned conn_events(struct conn *conn) {
    int phase = atomic_load_explicit(&conn->phase, memory_order_acquire);
    unsigned events = 0;
    if (phase == VN_CONNECTING || phase == VN_PLAIN)
        return 0;
    if (UNLIKELY(phase == VN_OFFERED))
        half_answered(conn);
    const struct vn_half *peer = conn->peer;
    uint64_t head = atomic_load_explicit(&conn->own->head, memory_order_relaxed);
    uint64_t tail = peer != NULL ? atomic_load_explicit(&peer->tail, memory_order_relaxed) : 0;
    uint32_t theirs = peer != NULL ? atomic_load_explicit(&peer->state, memory_order_acquire) : 0;
    bool mine = atomic_load_explicit(&conn->own->state, memory_order_relaxed) & VN_FIN;
    if (UNLIKELY(phase == VN_BROKEN || conn->bell_ended || (theirs & VN_RESET))) {
        events = POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM | POLLRDHUP;
        if (conn->error != 0 || (theirs & VN_RESET))
            events |= POLLERR | POLLHUP;
        return mine || phase == VN_BROKEN ? events | POLLHUP : events;
    }
    if (peer != NULL && atomic_load_explicit(&peer->head, memory_order_acquire) !=
                            atomic_load_explicit(&conn->own->tail, memory_order_relaxed))
        events |= POLLIN | POLLRDNORM;
    if (UNLIKELY((theirs & VN_FIN) || conn->shut_read))
        events |= POLLIN | POLLRDNORM | POLLRDHUP | (mine ? POLLHUP : 0);
    if (mine || head - tail <= stream_writable(conn->own, peer) || head - tail > VN_LARGE_BYTES)   /* the last: see write_locked */
        events |= POLLOUT | POLLWRNORM;
    return events;
}
