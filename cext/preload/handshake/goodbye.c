/* The end of a connection: see goodbye.h. */
#include "handshake/goodbye.h"

#include "base/process.h"
#include "base/real.h"
#include "base/settings.h"
#include "discovery/client.h"
#include "discovery/targets.h"
#include "fdtable/hidden.h"
#include "stream/doorbell.h"

static bool is_abortive(int fd) {
    struct linger linger = {0, 0};
    socklen_t length = sizeof(linger);
    return fd >= 0 && real_getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, &length) == 0 && linger.l_onoff &&
           linger.l_linger == 0;
}

/* By TCP, who closes first is left with TIME_WAIT. Here the news of a close is faster than the FIN, so who closes second
 * may send a FIN as well, and a server could not bind its port again. So the second one ends with a reset, which costs
 * nothing, as all that matters has been said in memory. So does, as by TCP, a close with unread bytes. */
static void reset_tcp(int fd) {
    struct linger reset = {1, 0};
    if (fd >= 0)
        real_setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
}

static void say(struct conn *conn, int fd) {
    struct vn_region *own = conn->own;
    const struct vn_region *peer = conn->peer;
    if (!own->forked && conn_phase(conn) != CONN_CONNECTING && process_is_copied())
        atomic_store(&own->forked, 1);
    if (own->forked || conn_phase(conn) == CONN_PLAIN)
        return; /* the kernel notifies the other end when the last process has closed its doorbell */
    if (conn_phase(conn) == CONN_CONNECTING) { /* nobody will accept it */
        atomic_fetch_or(&own->state, VN_FELL_BACK);
        broker_forget(&conn->source, &conn->target);
        return;
    }
    bool unread = peer != NULL && peer->head != own->tail;
    /* As by TCP: unread bytes make the close a reset, and then no FIN is sent but one that was before. Nor does one who was
     * reset from outside send a FIN: the other end may not have noticed. */
    bool reset = unread || is_abortive(fd) || (own->state & VN_RESET) || atomic_load(&conn->peer_reset);
    /* Who accepts a connection that was reset meanwhile finds no offer, and has what TCP says: the FIN before the reset, too. */
    if (conn_phase(conn) == CONN_OFFERED && reset && own->state & VN_FIN && fd >= 0)
        real_shutdown(fd, SHUT_WR);
    atomic_fetch_or(&own->state, VN_CLOSED | (reset ? VN_RESET : VN_FIN));
    doorbell_ring_if_wanted(conn, VN_ARMED_DATA);
    if (peer != NULL && VN_WANTS_ROOM(peer->armed)) /* who waits for room has to hear of it as well */
        doorbell_ring(conn);
    bool is_second = peer != NULL && (atomic_load(&peer->state) & (VN_FIN | VN_CLOSED));
    if (unread || is_second || atomic_load(&conn->peer_gone))
        reset_tcp(fd);
}

#define SHORT_WRITES 8
#define SHORT_BYTES (1024 * 1024)

/* The next connections of this client to the target may be better off with TCP. */
static void learn(const struct conn *conn) {
    const struct vn_region *peer = conn->peer;
    if (conn->own->accepted || !settings.short_lived || peer == NULL)
        return;
    targets_ended(&conn->target, conn->writes < SHORT_WRITES && conn->own->head + peer->head < SHORT_BYTES);
}

void goodbye_last(struct conn *conn) {
    if (atomic_exchange(&conn->goodbye_owed, false))
        say(conn, conn->tcp);
}

void goodbye(struct conn *conn, int fd) {
    learn(conn);
    if (atomic_load(&conn->blocked) == 0) {
        say(conn, fd);
        return;
    }
    if (fd >= 0)
        conn->tcp = hide_copy(fd);
    atomic_store(&conn->goodbye_owed, true);
    if (atomic_load(&conn->blocked) == 0) /* the last has left meanwhile */
        goodbye_last(conn);
}
