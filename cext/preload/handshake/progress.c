/* From connect to a direct connection: see progress.h.
 *
 * The accepting end answers with one message on the doorbell, with its region. What TCP says of the connection is believed
 * only as long as there is no answer: an accepting program may have answered, written and closed before we look, and
 * its TCP socket then says that the connection is over while its bytes wait in memory. So TCP is asked first and the
 * doorbell after it: who has closed has answered before. */
#include "handshake/progress.h"

#include <sys/syscall.h>

#include "base/message.h"
#include "base/process.h"
#include "base/real.h"
#include "base/settings.h"
#include "base/signals.h"
#include "base/sockaddr.h"
#include "discovery/client.h"
#include "discovery/targets.h"
#include "fdtable/hidden.h"
#include "fdtable/kick.h"
#include "handshake/fallback.h"
#include "memory/region.h"
#include "stream/doorbell.h"
#include "stream/lock.h"
#include "watch/watch.h"

/* A listener with TCP_DEFER_ACCEPT hands a connection out when its first bytes have come by TCP, and these lie in the
 * ring. So where nobody answers for a moment, the bytes so far go by TCP as well: the accepting end takes them off its
 * socket, and a client that falls back goes on behind them. All of them, because a program may read its peer's first
 * message by one call. */
#define NUDGE_NS (3 * MILLISECOND_NS)
#define NUDGE_MOST 4096u

static bool wants_nudge(const struct conn *conn) {
    return conn_phase(conn) == CONN_OFFERED && !atomic_load(&conn->own->nudged) && atomic_load(&conn->own->head) != 0;
}

static uint64_t nudge_due(const struct conn *conn) {
    return targets_lookup(&conn->target) == TARGET_DEFERS ? conn->offered_at : conn->offered_at + NUDGE_NS;
}

static void nudge(struct conn *conn, int tcp) {
    struct stream_lock lock = stream_lock(conn, &conn->own->write_lock);
    if (wants_nudge(conn)) {
        uint64_t head = atomic_load(&conn->own->head);
        uint32_t bytes = head < NUDGE_MOST ? (uint32_t)head : NUDGE_MOST;
        atomic_store(&conn->own->nudged, bytes); /* before they can arrive */
        ssize_t sent = quiet_send(tcp, (const char *)conn->own + VN_CONTROL_BYTES, bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent != (ssize_t)bytes)
            atomic_store(&conn->own->nudged, sent < 0 ? 0 : (uint32_t)sent);
    }
    stream_unlock(&lock);
}

void progress_before_sleep(void) {
    int saved = errno;
    if (LIKELY(atomic_load_explicit(&conn_young, memory_order_relaxed) == 0))
        return;
    for (int fd = 0; fd <= atomic_load(&entry_highest); fd++) {
        struct conn *conn = conn_hold(fd);
        if (conn == NULL)
            continue;
        progress_serve(conn, fd);
        if (wants_nudge(conn)) {
            int tcp = conn_pin(conn, fd);
            nudge(conn, tcp);
            conn_unpin(conn);
        }
        conn_release(conn);
    }
    errno = saved;
}

uint64_t progress_due(const struct conn *conn) {
    if (conn_phase(conn) != CONN_OFFERED)
        return 0;
    uint64_t last = conn->offered_at + settings.answer_ns;
    return wants_nudge(conn) ? nudge_due(conn) : last;
}

void progress_settle_on(int fd) {
    int saved = errno;
    if (fd >= 0)
        real_shutdown(fd, SHUT_RD); /* who reads past the library finds an end of file */
    errno = saved;
}

void progress_notify(struct conn *conn) {
    kick_all();
    if (conn->watchers != 0)
        watch_touch(conn);
}

/* An answer that finds no descriptor stays where it is: it can't be sent twice, and its sender goes by it already. */
static ssize_t peek_answer(struct conn *conn, struct vn_answer *answer, int *fds, int *count) {
    ssize_t got = message_receive(conn->doorbell, answer, sizeof(*answer), fds, count, MSG_DONTWAIT | MSG_PEEK);
    if (got < 0 && errno == EMFILE) {
        spare_lend();
        got = message_receive(conn->doorbell, answer, sizeof(*answer), fds, count, MSG_DONTWAIT | MSG_PEEK);
    }
    return got;
}

enum answer progress_take_answer(struct conn *conn, const struct vn_region **region) {
    struct vn_answer answer = {0, 0};
    int fds[VN_MOST_FDS], count = 0;
    ssize_t got = peek_answer(conn, &answer, fds, &count);
    int error = errno;
    *region = NULL;
    if (got == sizeof(answer) && count > 0 && answer.magic == VN_ANSWER_MAGIC && (*region = region_map(fds[0])) != NULL)
        quiet_recv(conn->doorbell, &answer, sizeof(answer), MSG_DONTWAIT); /* the byte behind it stays */
    close_all(fds, count);
    spare_restore();
    if (*region != NULL)
        return ANSWER_HERE;
    if (got < 0 && (error == EAGAIN || error == EINTR || error == EMFILE))
        return ANSWER_NONE;
    return got > 0 ? ANSWER_WRONG : ANSWER_NEVER; /* ECONNRESET: closed before it has read what was rung */
}

static void take_answer(struct conn *conn, int tcp) {
    const struct vn_region *region;
    switch (progress_take_answer(conn, &region)) {
    case ANSWER_HERE:
        conn_set_phase(conn, CONN_CONNECTING, CONN_OFFERED); /* who answers has accepted, whatever TCP says since */
        conn->peer = region;
        conn_set_phase(conn, CONN_OFFERED, CONN_DIRECT);
        progress_settle_on(tcp);
        refuse_descriptors(conn->doorbell); /* closing a stranger's can take long */
        targets_learn(&conn->target, atomic_load(&conn->own->nudged) ? TARGET_DEFERS : TARGET_DIRECT);
        progress_notify(conn);
        break;
    case ANSWER_WRONG:
        conn_break(conn, ECONNRESET);
        progress_notify(conn);
        break;
    case ANSWER_NEVER: /* the broker or the other end let the offer go: so it is TCP */
        fallback(conn, tcp);
        progress_notify(conn);
        break;
    case ANSWER_NONE: break;
    }
}

/* What TCP says of a connection that is not direct yet. The error stays the kernel's. */
enum said { SAID_NOTHING, SAID_CONNECTED, SAID_ENDED };

static enum said ask_tcp(int tcp) {
    struct pollfd socket = {tcp, POLLOUT | POLLRDHUP, 0};
    if (tcp < 0 || quiet_look(&socket, 1) <= 0)
        return SAID_NOTHING;
    return socket.revents & (POLLERR | POLLHUP | POLLRDHUP) ? SAID_ENDED : SAID_CONNECTED;
}

static void serve(struct conn *conn, int tcp) {
    enum said said = ask_tcp(tcp); /* before the answer, which who accepts sends before anything else */
    take_answer(conn, tcp);
    if (conn_phase(conn) < CONN_DIRECT && said == SAID_ENDED) {
        broker_forget(&conn->source, &conn->target);
        fallback(conn, tcp);
        progress_notify(conn);
    }
    if (conn_phase(conn) == CONN_CONNECTING && said == SAID_CONNECTED) {
        conn->offered_at = now_ns();
        conn_set_phase(conn, CONN_CONNECTING, CONN_OFFERED);
        progress_notify(conn);
    }
    if (wants_nudge(conn) && now_ns() >= nudge_due(conn))
        nudge(conn, tcp);
    bool late = conn_phase(conn) == CONN_OFFERED && now_ns() >= conn->offered_at + settings.answer_ns;
    if (conn_phase(conn) < CONN_DIRECT && (atomic_load(&conn->fallback_requested) || late)) {
        fallback(conn, tcp);
        progress_notify(conn);
    }
}

/* Whether a look is worth while: the doorbell is readable or has ended, TCP has ended or may have connected, or it is time. */
static bool has_news(struct conn *conn, int fd) {
    struct pollfd fds[2] = {{conn->doorbell, POLLIN | POLLRDHUP, 0}, {conn_descriptor(conn, fd), POLLRDHUP, 0}};
    if (conn_phase(conn) == CONN_CONNECTING || atomic_load(&conn->fallback_requested) || quiet_look(fds, 2) > 0)
        return true;
    uint64_t due = progress_due(conn);
    return due != 0 && now_ns() >= due;
}

void progress_serve(struct conn *conn, int fd) {
    struct shield shield;
    bool nobody = false;
    int saved = errno;
    if (conn_phase(conn) < CONN_DIRECT && has_news(conn, fd)) {
        signals_shield(&shield); /* no handler may jump out of this, or find it half done */
        if (atomic_compare_exchange_strong(&conn->serving, &nobody, true)) {
            int tcp = conn_pin(conn, fd);
            if (conn_phase(conn) < CONN_DIRECT)
                serve(conn, tcp);
            conn_unpin(conn);
            atomic_store(&conn->serving, false);
        }
        signals_unshield(&shield);
    }
    errno = saved;
}

bool progress_fall_back(struct conn *conn, int fd) {
    struct timespec nap = {0, 50000};
    atomic_store(&conn->fallback_requested, true);
    while (conn_phase(conn) < CONN_DIRECT) {
        progress_serve(conn, fd);
        if (conn_phase(conn) < CONN_DIRECT) /* another thread is at it */
            real_syscall(SYS_nanosleep, &nap, NULL);
    }
    return conn_phase(conn) == CONN_PLAIN;
}

bool progress_finish(struct conn *conn, int fd) {
    while (conn_phase(conn) == CONN_OFFERED && now_ns() < conn->offered_at + settings.answer_ns) {
        struct pollfd doorbell = {conn->doorbell, POLLIN, 0};
        quiet_poll(&doorbell, 1, 10);
        progress_serve(conn, fd);
    }
    return conn_phase(conn) >= CONN_DIRECT ? conn_phase(conn) != CONN_PLAIN : !progress_fall_back(conn, fd);
}

bool progress_take_nudge(struct conn *conn, int tcp) {
    const struct vn_region *peer = conn->peer;
    char bytes[NUDGE_MOST];
    if (!conn->own->accepted || peer == NULL)
        return false;
    uint32_t nudged = atomic_load(&peer->nudged), taken = atomic_load(&conn->nudge_taken);
    if (nudged > NUDGE_MOST)
        nudged = NUDGE_MOST;
    ssize_t got = taken < nudged ? quiet_recv(tcp, bytes, nudged - taken, MSG_DONTWAIT) : 0;
    if (got <= 0)
        return false;
    atomic_fetch_add(&conn->nudge_taken, (uint32_t)got);
    return true;
}

static void look_at(struct conn *conn, int tcp) {
    char byte;
    ssize_t got = quiet_recv(tcp, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    if (got > 0 && progress_take_nudge(conn, tcp))
        got = quiet_recv(tcp, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    if (got > 0) { /* somebody has written past the library: those bytes have no place in the stream */
        atomic_fetch_or(&conn->own->state, VN_RESET | VN_CLOSED);
        conn_break(conn, ECONNRESET);
        doorbell_ring(conn);
        progress_notify(conn);
    } else if (got < 0 && (errno == ECONNRESET || errno == EPIPE || errno == ETIMEDOUT)) {
        atomic_store(&conn->peer_reset, true);
        atomic_store(&conn->peer_gone, true); /* no process has the other end's socket */
        progress_notify(conn);
    } else if (got < 0 && errno == ECONNABORTED) {
        conn_abort(conn);
        progress_notify(conn);
    } else if (got == 0 && conn_has_ended(conn, tcp)) {
        progress_notify(conn);
    }
}

void progress_look_at_tcp(struct conn *conn, int fd) {
    int saved = errno, tcp = conn_pin(conn, fd);
    if (tcp >= 0 && conn_phase(conn) == CONN_DIRECT)
        look_at(conn, tcp);
    conn_unpin(conn);
    errno = saved;
}
