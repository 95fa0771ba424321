/* How an end that sleeps is woken.
 *
 * Theory of operation. A connection's doorbell is a pair of connected Unix stream sockets, one at each end. A byte in
 * it means: look at the memory. It carries nothing else after the answer (handshake/progress.c).
 *
 * Who goes to sleep arms: it counts itself in `armed` of its own region, takes a new sleep_number, looks at the memory
 * once more, and sleeps. The other end, after it has moved a cursor, looks at `armed`. Both have a full barrier between
 * their store and their look, so one of them sees the other: either the sleeper sees the bytes, or the writer sees the
 * sleeper. The writer then sends one byte, and not again for the same sleep_number: who sleeps again has a new one.
 *
 * Nobody is woken in another's place, because nobody takes the byte. All sleepers - threads of this process, and
 * processes that share the connection after a fork - sleep in an epoll of their own in which the doorbell is watched
 * edge-triggered: a thread's private one (wait/sleeper.c), a relay's, or the inner one of a program's epoll
 * (watch/active.c). Every byte is an edge for each of them. An edge counts only if the socket is still readable when its
 * epoll is asked; so the doorbell, once rung, is never emptied: doorbell_keep_short leaves one byte. Nor does anything
 * depend on the return of a call. A thread that was cancelled, or that a signal's handler has taken out of its sleep by
 * siglongjmp, leaves itself counted in `armed`; that costs the other end a byte for a new sleep_number, and no more.
 *
 * A wake-up for all is one look too many for some: the price for never losing one.
 */
#include "stream/doorbell.h"

#include <sys/ioctl.h>

#include "base/real.h"
#include "stream/lock.h"
#include "stream/ring.h"

#define MOST_BYTES 64 /* that may pile up; a Unix socket takes about 270 single ones */

void doorbell_ring(struct conn *conn) {
    char byte = 1;
    int saved = errno;
    atomic_fetch_add_explicit(&conn->own->rings, 1, memory_order_relaxed);
    /* A full doorbell has edges that nobody has seen yet. */
    if (quiet_send(conn->doorbell, &byte, 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 &&
        (errno == EPIPE || errno == ECONNRESET) && conn_phase(conn) == CONN_DIRECT)
        conn_note_end(conn, -1);
    errno = saved;
}

void doorbell_ring_if_wanted(struct conn *conn, uint64_t wants) {
    atomic_thread_fence(memory_order_seq_cst);
    doorbell_ring_if_armed(conn, wants);
}

void doorbell_ring_if_armed(struct conn *conn, uint64_t wants) {
    const struct vn_region *peer = conn->peer;
    if (UNLIKELY(peer == NULL)) { /* whether it sleeps can't be seen yet */
        doorbell_ring(conn);
        return;
    }
    uint64_t armed = atomic_load_explicit(&peer->armed, memory_order_relaxed);
    if (LIKELY(wants == VN_ARMED_DATA ? !VN_WANTS_DATA(armed) : !VN_WANTS_ROOM(armed)))
        return;
    if (wants == VN_ARMED_ROOM) { /* not before there is as much as a poll would call writable */
        uint64_t used = peer->head - conn->own->tail;
        if (used > stream_writable(peer, conn->own))
            return;
    }
    uint64_t number = atomic_load(&peer->sleep_number);
    if (atomic_load(&conn->own->rung) == number)
        return;
    doorbell_ring(conn);
    atomic_store(&conn->own->rung, number);
}

static uint64_t sleepers(unsigned events) {
    return (events & POLLIN ? VN_ARMED_DATA : 0) + (events & POLLOUT ? VN_ARMED_ROOM : 0);
}

void doorbell_arm(struct conn *conn, unsigned events) {
    atomic_fetch_add(&conn->own->armed, sleepers(events));
    atomic_fetch_add(&conn->own->sleep_number, 1);
    atomic_thread_fence(memory_order_seq_cst);
}

void doorbell_disarm(struct conn *conn, unsigned events) {
    atomic_fetch_sub(&conn->own->armed, sleepers(events));
}

static void take_all_but_one(struct conn *conn) {
    char scrap[4 * MOST_BYTES];
    int bytes = 0;
    if (real_ioctl(conn->doorbell, FIONREAD, &bytes) != 0)
        return;
    for (bytes--; bytes > 0;) {
        size_t piece = (size_t)bytes < sizeof(scrap) ? (size_t)bytes : sizeof(scrap);
        ssize_t got = quiet_recv(conn->doorbell, scrap, piece, MSG_DONTWAIT);
        if (got <= 0)
            return;
        bytes -= (int)got;
    }
}

void doorbell_keep_short(struct conn *conn) {
    const struct vn_region *peer = conn->peer;
    uint64_t rings = peer != NULL ? atomic_load_explicit(&peer->rings, memory_order_relaxed) : 0;
    struct stream_lock lock;
    int saved = errno;
    if (LIKELY(rings - atomic_load_explicit(&conn->own->trimmed, memory_order_relaxed) < MOST_BYTES))
        return;
    if (stream_try_lock(&conn->own->trim_lock, &lock)) { /* one at a time, or two would take the last byte */
        take_all_but_one(conn);
        atomic_store_explicit(&conn->own->trimmed, rings, memory_order_relaxed);
        stream_unlock(&lock);
    }
    errno = saved;
}

void doorbell_want_signals(struct conn *conn, int fd, bool wanted) {
    struct f_owner_ex owner;
    if (wanted == conn->wants_signals)
        return;
    if (wanted && real_fcntl(fd, F_GETOWN_EX, &owner) == 0)
        real_fcntl(conn->doorbell, F_SETOWN_EX, &owner);
    conn->wants_signals = wanted;
    real_fcntl(conn->doorbell, F_SETFL, wanted ? O_RDWR | O_ASYNC : O_RDWR);
    (wanted ? doorbell_arm : doorbell_disarm)(conn, POLLIN | POLLOUT);
}
