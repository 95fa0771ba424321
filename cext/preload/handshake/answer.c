/* The accepting end of a connection is made of what was offered: with new memory, or with that of an earlier one. */
#include "listener.h"

#include <string.h>
#include <unistd.h>

#define STRANGE_KNOCKS 256   /* that one accept looks at */

/* Accepts a use of the half that was offered, unless it is withdrawn: see withdraw.c, is_accepted. */
static bool decide(struct vn_half *own, const struct vn_half *peer, uint64_t use) {
    atomic_store(&own->answering, use);
    atomic_thread_fence(memory_order_seq_cst);
    bool withdrawn = atomic_load(&peer->state) & VN_WITHDRAWN;
    atomic_store(withdrawn ? &own->answering : &own->use, withdrawn ? 0 : use);
    return !withdrawn;
}

/* The accepting end of a half that is known from an earlier connection, see pool.c; NULL when it is not. */
static struct conn *answer_again(uint64_t inode, const struct vn_knock *knock) {
    struct pair pair;
    if (inode == 0 || knock->use < 2 || !pool_take(&pair, knock, inode))
        return NULL;
    struct conn *conn = conn_new(pair.own, -1);
    if (conn == NULL) {
        half_unmap(pair.peer);
        half_unmap(pair.own);
        return NULL;
    }
    half_begin(pair.own, &knock->target, &knock->source, true);
    conn->peer = conn->pair.peer = pair.peer;
    conn->phase = VN_DIRECT;
    if (decide(pair.own, pair.peer, knock->use))
        return conn;
    conn_release(conn);   /* not kept: it has no inode yet */
    return NULL;
}

struct conn *answer(int bell, int memfd, const struct vn_address *local, const struct vn_address *remote,
                    const struct listener *listener, bool verified) {
    struct vn_answer message = {VN_ANSWER_MAGIC, 0, 0};
    struct vn_half *own = NULL;
    const struct vn_half *peer = is_unix(bell) ? half_map(memfd) : NULL;
    real_close(memfd);
    int fds[2] = {peer != NULL ? half_make(&own, local, remote, true) : -1, listener->outside};
    struct conn *conn = fds[0] >= 0 ? conn_new(own, -1) : NULL;
    uint64_t use = peer != NULL ? peer->use : 0;   /* from now on they are used together */
    if (conn != NULL) {
        own->use = 0;
        own->answering = use;
    }
    message.doors = verified && listener->outside >= 0;
    if (message.doors)
        message.ticket = door_ticket(listener->secret, remote, local);
    bool sent = conn != NULL && message_send(bell, &message, sizeof(message), fds, message.doors ? 2 : 1, MSG_DONTWAIT);
    /* It can't be sent to who has withdrawn, or died, or written and closed already: then there is something to read. */
    bool gone = conn != NULL && !sent && (errno == EPIPE || errno == ECONNRESET);
    bool has_something = gone && (peer->head != 0 || (peer->state & VN_FIN));
    if (conn == NULL || (!sent && !has_something) || !decide(own, peer, use)) {
        if (conn != NULL)
            conn_release(conn);
        else
            half_unmap(own);
        half_unmap(peer);
        conn = NULL;
    } else {
        conn->peer = conn->pair.peer = peer;
        conn->phase = VN_DIRECT;
        conn->bell_ended = !sent;
    }
    if (fds[0] >= 0)
        real_close(fds[0]);
    return conn;
}

static _Atomic int came_last = VN_MAX_FD;   /* the descriptor that was the lowest free one then */

/* Whether somebody knocks who could get a descriptor; without one he waits at the door as with TCP (EMFILE). */
static bool may_open(int inside) {
    char byte;
    int fds[2];
    if (is_far_from_limit(came_last))
        return true;
    if (real_recv(inside, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 || (fds[0] = real_fcntl(inside, F_DUPFD_CLOEXEC, 0)) < 0)
        return false;
    if ((fds[1] = real_fcntl(inside, F_DUPFD_CLOEXEC, 0)) >= 0)
        real_close(fds[1]);
    else   /* one is enough for a connection, but it comes with two */
        spare_lend();
    real_close(fds[0]);
    return true;
}

struct conn *answer_knock(struct listener *listener, int fd, int *bell, struct vn_knock *knock) {
    int fds[VN_MOST_FDS], count;
    for (int strange = 0; strange < STRANGE_KNOCKS; strange++) {
        struct conn *conn = NULL;
        if (!may_open(listener->inside))
            return NULL;
        ssize_t got = message_receive(listener->inside, knock, sizeof(*knock), fds, &count, MSG_DONTWAIT);
        if (got < 0) {   /* nobody is there, or another process that listens took it */
            spare_restore();
            return NULL;
        }
        uint64_t inode = 0;
        if (got == sizeof(*knock) && count == 2 &&
            knock->ticket == door_ticket(listener->secret, &knock->source, &knock->target)) {
            inode = half_inode(fds[1]);
            conn = is_unix(fds[0]) ? answer_again(inode, knock) : NULL;
            if (conn != NULL)
                real_close(fds[1]);
            else
                conn = answer(fds[0], fds[1], &knock->target, &knock->source, listener, false);
        } else
            close_all(fds + 1, count > 1 ? count - 1 : 0);
        spare_restore();
        if (conn != NULL) {
            conn->pair.inode = inode;
            conn->family = listener->family;
            *bell = came_last = fds[0];
            return conn;
        }
        close_all(fds, count > 0 ? 1 : 0);
        if (got == 0 && door_is_shut(listener->inside)) {
            epoll_leave(fd);
            door_renew(listener->inside, listener->outside);
            epoll_rejoin(fd);
            break;
        }
    }
    errno = EAGAIN;
    return NULL;
}
