/* The way back to TCP, when nobody takes a client's offer: its descriptors become the kept socket again. */
#include "internal.h"
#include "parts.h"

#include <unistd.h>

static void send_all(int socket, const char *data, size_t bytes) {
    int flags = MSG_DONTWAIT;
    while (bytes > 0) {
        ssize_t n = real_send(socket, data, bytes, MSG_NOSIGNAL | flags);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN && flags != 0) {   /* the other end reads nothing: room for all, not to wait for it */
            int room = 2 * VN_RING_BYTES;
            flags = 0;
            if (real_setsockopt(socket, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room)) != 0)
                real_setsockopt(socket, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
            continue;
        }
        if (n <= 0)
            return;
        data += n;
        bytes -= (size_t)n;
    }
}

/* What was written so far goes by TCP. The ring can't have wrapped: nobody has read from it. */
static void hand_over(struct conn *conn) {
    const char *ring = (const char *)conn->own + VN_CONTROL_BYTES;
    int flags = real_fcntl(conn->kept, F_GETFL);
    real_fcntl(conn->kept, F_SETFL, flags & ~O_NONBLOCK);
    send_all(conn->kept, ring, conn->own->head);
    if (conn->own->state & VN_FIN)
        real_shutdown(conn->kept, SHUT_WR);
    if (conn->nonblocking)
        real_fcntl(conn->kept, F_SETFL, flags | O_NONBLOCK);
}

/* The handshake that a connection by the door was spared, for which nobody may wait long. */
static bool shake_hands(struct conn *conn) {
    struct sockaddr_storage name;
    struct timeval patience = {1, 0}, given = {(time_t)(conn->send_timeout_ns / 1000000000u),
                                              (suseconds_t)(conn->send_timeout_ns % 1000000000u / 1000)};
    socklen_t length = address_to(&conn->target, conn->family, (struct sockaddr *)&name, sizeof(name));
    real_fcntl(conn->kept, F_SETFL, real_fcntl(conn->kept, F_GETFL) & ~O_NONBLOCK);
    real_setsockopt(conn->kept, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    conn->verified = real_connect(conn->kept, (struct sockaddr *)&name, length) == 0;
    real_setsockopt(conn->kept, SOL_SOCKET, SO_SNDTIMEO, &given, sizeof(given));
    return conn->verified;
}

/* Its descriptors become the kept socket, without a further one: there may be none. */
static void go_plain(struct conn *conn) {
    for (int each = 0; each <= vn_highest; each++) {
        if (conn_of(each) != conn)
            continue;
        epoll_leave(each);
        if (become(each, conn->kept) == 0)
            entry_release(entry_clear(each));
        epoll_rejoin(each);
    }
}

void conn_withdraw(struct conn *conn, int fd) {
    static _Atomic int busy;
    struct vn_answer answer;
    int saved = errno, fds[VN_MOST_FDS], count;
    if (atomic_exchange(&busy, 1))   /* by another thread; its result is seen at the next look */
        return;
    half_answered(conn);
    int phase = conn->phase;
    if (phase == VN_OFFERED || phase == VN_CONNECTING || phase == VN_BROKEN) {
        atomic_fetch_or(&conn->own->state, VN_WITHDRAWN);
        real_shutdown(fd, SHUT_RDWR);   /* from here on an answer can't be sent */
        ssize_t got = message_receive(fd, &answer, sizeof(answer), fds, &count, MSG_DONTWAIT);
        bool taken = ((got > 0 && count > 0) || half_answered(conn)) && phase != VN_BROKEN;   /* in the very last moment */
        if (taken || (phase == VN_OFFERED && !conn->verified && !shake_hands(conn))) {
            atomic_store(&conn->error, ECONNRESET);
            atomic_store(&conn->phase, VN_BROKEN);
        } else {
            bool stopped = stream_stop(conn);   /* who writes now goes by TCP afterwards, when its descriptor is that */
            if (phase == VN_OFFERED)
                hand_over(conn);
            go_plain(conn);
            atomic_store(&conn->phase, VN_PLAIN);
            stream_go(conn, stopped);
            tell(VN_WHY_withdrawn, &conn->target, fd);
        }
        close_all(fds, got > 0 ? count : 0);
    }
    atomic_store(&busy, 0);
    errno = saved;
}
