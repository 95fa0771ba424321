/* The end of a connection: see goodbye.h. */
#include "handshake/goodbye.h"

#include "base/real.h"
#include "discovery/client.h"
#include "fdtable/hidden.h"
#include "stream/doorbell.h"

static bool is_abortive(int fd) {
    struct linger linger = {0, 0};
    socklen_t length = sizeof(linger);
    return fd >= 0 && real_getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, &length) == 0 && linger.l_onoff && linger.l_linger == 0;
}

static void say(struct conn *conn, int fd) {
    struct vn_half *own = conn->own;
    const struct vn_half *peer = conn->peer;
    if (own->forked || conn_phase(conn) == CONN_PLAIN)
        return;   /* the kernel tells the other end when the last process has closed its doorbell */
    if (conn_phase(conn) == CONN_CONNECTING) {   /* nobody will accept it */
        atomic_fetch_or(&own->state, VN_WITHDRAWN);
        broker_forget(&conn->source, &conn->target);
        return;
    }
    bool unread = peer != NULL && peer->head != own->tail;
    /* As by TCP: unread bytes make the close a reset, and then no FIN is sent but one that was before. */
    atomic_fetch_or(&own->state, VN_CLOSED | (unread || is_abortive(fd) ? VN_RESET : VN_FIN));
    doorbell_ring_if_wanted(conn, VN_ARMED_DATA);
    if (peer != NULL && VN_WANTS_ROOM(peer->armed))   /* who waits for room has to hear of it as well */
        doorbell_ring(conn);
}

void goodbye_last(struct conn *conn) {
    if (atomic_exchange(&conn->goodbye_owed, false))
        say(conn, conn->tcp);
}

void goodbye(struct conn *conn, int fd) {
    if (atomic_load(&conn->blocked) == 0) {
        say(conn, fd);
        return;
    }
    if (fd >= 0)
        conn->tcp = hide_copy(fd);
    atomic_store(&conn->goodbye_owed, true);
    if (atomic_load(&conn->blocked) == 0)   /* the last has left meanwhile */
        goodbye_last(conn);
}
