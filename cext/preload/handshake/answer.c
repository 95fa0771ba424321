/* The accepting end of a connection is made of what was offered. */
#include "handshake/answer.h"

#include <string.h>

#include "base/message.h"
#include "base/real.h"
#include "base/sockaddr.h"
#include "fdtable/hidden.h"
#include "handshake/progress.h"
#include "memory/region.h"

/* Accepts the region that was offered, unless the client has fallen back: see fallback.c. */
static bool decide(struct vn_region *own, const struct vn_region *peer) {
    atomic_store(&own->decision, VN_ANSWERING);
    atomic_thread_fence(memory_order_seq_cst);
    bool fell_back = atomic_load(&peer->state) & VN_FELL_BACK;
    atomic_store(&own->decision, fell_back ? VN_UNDECIDED : VN_ACCEPTED);
    return !fell_back;
}

/* False when the client can't be notified. One that has written and closed already, or died, is accepted all the same:
 * there is something to read. *gone: nobody has its end any more. */
static bool send_answer(int doorbell, int memfd, const struct vn_region *peer, bool *gone) {
    struct {
        struct vn_answer answer;
        char byte;
    } message = {{VN_ANSWER_MAGIC, VN_SOCKETS_VERSION}, 1};
    *gone = false;
    if (message_send(doorbell, &message, offsetof(__typeof__(message), byte) + 1, &memfd, 1, MSG_DONTWAIT))
        return true;
    *gone = errno == EPIPE || errno == ECONNRESET;
    return *gone && (atomic_load(&peer->head) != 0 || (atomic_load(&peer->state) & VN_FIN));
}

static struct conn *begin(int doorbell, const struct vn_region *peer, const struct vn_address *local,
                          const struct vn_address *remote) {
    struct vn_region *own = NULL;
    bool gone;
    int memfd = region_make(&own, local, remote, true);
    if (memfd < 0)
        return NULL;
    struct conn *conn = conn_new(own, doorbell, CONN_OFFERED);
    if (conn == NULL) {
        region_unmap(own);
        quiet_close(memfd);
        return NULL;
    }
    own->decision = VN_ANSWERING;
    if (send_answer(doorbell, memfd, peer, &gone) && decide(own, peer)) {
        conn->peer = peer;
        conn->peer_gone = gone;
        conn_set_phase(conn, CONN_OFFERED, CONN_DIRECT);
    } else {
        own->decision = VN_UNDECIDED;
        conn->doorbell = -1; /* the caller's still */
        conn_release(conn);
        conn = NULL;
    }
    quiet_close(memfd);
    return conn;
}

struct conn *answer(int doorbell, int memfd, const struct vn_address *local, const struct vn_address *remote, int tcp) {
    const struct vn_region *peer = is_unix(doorbell) ? region_map(memfd) : NULL;
    quiet_close(memfd); /* before another one is made: there may be no more descriptors */
    int hidden = peer != NULL ? hide(doorbell) : -1;
    struct conn *conn = hidden >= 0 ? begin(hidden, peer, local, remote) : NULL;
    if (conn == NULL) {
        if (hidden >= 0)
            hidden_close(hidden);
        else if (peer == NULL)
            quiet_close(doorbell);
        region_unmap(peer);
        return NULL;
    }
    refuse_descriptors(conn->doorbell);
    conn->inode = inode_of(tcp);
    conn->source = *remote;
    conn->target = *local;
    conn_read_options(conn, tcp);
    progress_take_nudge(conn, tcp); /* it may still be on its way */
    conn->nudge_looks = NUDGE_LOOKS;
    progress_settle_on(tcp);
    return conn;
}
