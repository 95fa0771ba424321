/* Back to TCP, when nobody takes a client's offer.
 *
 * The program's descriptor is the TCP socket all the time, so going back means: what was written into the ring is sent
 * by TCP, and the number means nothing to the library any more. It must not happen after the other end has accepted. The
 * accepting end says that it is about to (`decision` is ANSWERING), looks whether the client has fallen back, and
 * then says what came of it. The client says that it falls back, and looks at what the other end says: so either the
 * other end has seen that, or the client sees that it is about to accept, and soon whether it has.
 *
 * Writers are kept out by the write lock. Whoever finds the connection as it was meanwhile sees CONN_PLAIN at his next
 * look, and goes on with the same number by the kernel. */
#include "handshake/fallback.h"

#include <sched.h>

#include "base/real.h"
#include "base/settings.h"
#include "discovery/targets.h"
#include "fdtable/hidden.h"
#include "fdtable/marks.h"
#include "memory/region.h"
#include "memory/report.h"
#include "stream/lock.h"
#include "watch/watch.h"

#define DECIDED_NS (2 * SECOND_NS) /* for the other end to say what it does, between two of its instructions */
#define SEND_NS (5 * SECOND_NS)    /* for the far end's kernel to take what was written */

/* More than the far end's window: it reads nothing yet, and all of it has to go. */
static void make_room(int tcp) {
    int room = 2 * VN_RING_BYTES;
    if (real_setsockopt(tcp, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room)) != 0)
        real_setsockopt(tcp, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
}

static void send_all(int tcp, const char *data, size_t bytes) {
    uint64_t deadline = now_ns() + SEND_NS;
    bool made_room = false;
    while (bytes > 0 && now_ns() < deadline) {
        ssize_t n = quiet_send(tcp, data, bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0) {
            data += n;
            bytes -= (size_t)n;
        } else if (n < 0 && errno == EAGAIN) {
            struct pollfd socket = {tcp, POLLOUT, 0};
            if (made_room)
                quiet_poll(&socket, 1, 100);
            else
                make_room(tcp);
            made_room = true;
        } else if (n == 0 || errno != EINTR) {
            return;
        }
    }
}

/* What was written so far goes by TCP. The ring can't have wrapped: nobody has read from it. */
static void hand_over(struct conn *conn, int tcp) {
    struct pollfd socket = {tcp, 0, 0};
    if (quiet_poll(&socket, 1, 0) > 0) /* reset: the error is for the program, not for a send of ours */
        return;
    size_t gone = conn->own->nudged; /* these are there already */
    send_all(tcp, (const char *)conn->own + VN_CONTROL_BYTES + gone, conn->own->head - gone);
    if (conn->own->shut_read)
        real_shutdown(tcp, SHUT_RD);
    if (conn->own->state & VN_FIN)
        real_shutdown(tcp, SHUT_WR);
}

/* Whether the other end has accepted: then *region is its region. */
static bool is_accepted(struct conn *conn, const struct vn_region **region) {
    uint64_t deadline = now_ns() + DECIDED_NS;
    if (progress_take_answer(conn, region) != ANSWER_HERE)
        return false;
    while (atomic_load(&(*region)->decision) == VN_ANSWERING && now_ns() < deadline)
        sched_yield();
    if (atomic_load(&(*region)->decision) == VN_ACCEPTED)
        return true;
    region_unmap(*region);
    return false;
}

/* What connects anew by one of several numbers, or in one of several processes, would not do so for the others. */
static void mark_shared(const struct conn *conn, int fd, int count) {
    if (conn->own->forked)
        mark_set(fd, MARK_PLAIN);
    else if (count > 1)
        mark_set(fd, MARK_COPIED);
}

static int next_number(const struct conn *conn, int fd) {
    return entry_descriptor(&conn->entry, fd + 1);
}

void fallback_let_numbers_go(struct conn *conn) {
    bool last;
    int count = 0;
    for (int fd = next_number(conn, -1); fd >= 0; fd = next_number(conn, fd))
        count++;
    for (int fd = next_number(conn, -1); fd >= 0; fd = next_number(conn, fd)) {
        watch_leave(fd);
        struct entry *entry = entry_clear(fd, &last);
        mark_shared(conn, fd, count);
        watch_rejoin(fd);
        if (entry != NULL)
            entry_release(entry);
    }
}

static void go_on_by_tcp(struct conn *conn, int tcp) {
    if (tcp < 0 || conn_phase(conn) != CONN_OFFERED)
        return;
    hand_over(conn, tcp);
    if (now_ns() >= conn->offered_at + settings.answer_ns) /* the next one is not to wait as long */
        targets_learn(&conn->target, TARGET_FELL_BACK);
    report(VN_REASON_fell_back, &conn->target, tcp);
}

/* Who sleeps in a call goes on with the socket, also when its number means another one by then. */
static void keep_for_blocked(struct conn *conn, int tcp) {
    if (tcp >= 0 && conn->tcp < 0 && atomic_load(&conn->blocked) != 0)
        conn->tcp = hide_copy(tcp);
}

/* A connect that returns meanwhile makes it OFFERED, so the phase that counts is the one that PLAIN replaces. */
void fallback(struct conn *conn, int tcp) {
    const struct vn_region *region;
    if (conn_phase(conn) >= CONN_DIRECT)
        return;
    struct stream_lock lock = stream_lock(conn, &conn->own->write_lock);
    atomic_fetch_or(&conn->own->state, VN_FELL_BACK);
    atomic_thread_fence(memory_order_seq_cst);
    if (is_accepted(conn, &region)) {
        atomic_fetch_and(&conn->own->state, ~(uint32_t)VN_FELL_BACK);
        conn_set_phase(conn, CONN_CONNECTING, CONN_OFFERED);
        conn->peer = region;
        conn_set_phase(conn, CONN_OFFERED, CONN_DIRECT);
        if (tcp >= 0)
            real_shutdown(tcp, SHUT_RD);
    } else {
        keep_for_blocked(conn, tcp);
        real_shutdown(conn->doorbell, SHUT_RDWR); /* from here on an answer can't be sent; and it wakes who sleeps */
        if (!conn_set_phase(conn, CONN_CONNECTING, CONN_PLAIN)) { /* else nothing was written yet */
            go_on_by_tcp(conn, tcp);
            conn_set_phase(conn, CONN_OFFERED, CONN_PLAIN);
        }
        fallback_let_numbers_go(conn);
    }
    stream_unlock(&lock);
}
