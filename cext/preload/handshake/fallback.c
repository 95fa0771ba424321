/* The way back to TCP, when nobody takes a client's offer: its descriptors become the kept socket again.
 *
 * Who withdraws leads (bell.c), so nobody else takes anything off the bell, and holds the write lock, so what was written
 * is complete. It says so in memory (VN_WITHDRAWN), makes sure that the other end has not accepted, ends the bell, waits for
 * those who sleep in poll, hands over what was written, and only then puts the TCP socket behind the number. Whoever
 * finds the connection as it was meanwhile sees VN_PLAIN at his next look, and goes on with the number by the kernel.
 */
#include "internal.h"
#include "parts.h"

#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#define DECIDED_NS 100000000u   /* for the other end to say what it does, between two of its instructions */
#define LEFT_NS 1000000000u

/* Held while a descriptor becomes TCP, and by who closes one that might: else its number would come to life again. */
static pthread_mutex_t swapping = PTHREAD_MUTEX_INITIALIZER;

void withdraw_after_fork(void) {
    pthread_mutex_init(&swapping, NULL);
}

struct entry *withdraw_closed(int fd) {
    pthread_mutex_lock(&swapping);
    struct entry *entry = entry_clear(fd);
    pthread_mutex_unlock(&swapping);
    return entry;
}

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

/* fd becomes the kept socket, without a further descriptor: there may be none. */
static void become_plain(struct conn *conn, int fd) {
    struct entry *entry = NULL;
    epoll_leave(fd);
    pthread_mutex_lock(&swapping);
    if (conn_of(fd) == conn && become(fd, conn->kept) == 0)   /* else another thread has closed it */
        entry = entry_clear(fd);
    pthread_mutex_unlock(&swapping);
    epoll_rejoin(fd);
    if (entry != NULL)
        entry_release(entry);
}

static void go_plain(struct conn *conn) {
    for (int each = 0; each <= vn_highest; each++)
        if (conn_of(each) == conn)
            become_plain(conn, each);
    atomic_store(&conn->phase, VN_PLAIN);
}

/* Who is in the kernel's poll with the bell is woken by its end, but would then look at the TCP socket behind the same
 * number, without being told of what comes there: the kernel asks to be told only when poll begins. */
static void wake_pollers(struct conn *conn) {
    uint64_t deadline = now_ns() + LEFT_NS;   /* a signal's handler may have jumped out of poll */
    while (conn->asleep != 0 && now_ns() < deadline)
        sched_yield();
}

/* Whether the other end has accepted it already. It says first that it is about to (`answering`), then looks whether we
 * have withdrawn, and then says that it has (`use`), or that it has not. We have withdrawn, and look at what it says: so
 * either it has seen that, or we see that it is about to, and soon what comes of it. */
static bool is_accepted(struct conn *conn, int fd) {
    uint64_t use = conn->own->use, deadline = now_ns() + DECIDED_NS;
    bell_take_answer(conn, fd);
    const struct vn_half *peer = conn->peer != NULL ? conn->peer : conn->pair.peer;
    if (peer == NULL)
        return false;
    while (peer->use != use && peer->answering == use && now_ns() < deadline)
        sched_yield();
    half_answered(conn);
    return peer->use == use;
}

void conn_withdraw(struct conn *conn, int fd) {
    int saved = errno;
    half_answered(conn);
    int phase = conn->phase;
    if (phase != VN_OFFERED && phase != VN_CONNECTING && phase != VN_BROKEN)
        return;
    bool stopped = stream_stop(conn);   /* who writes now goes by TCP afterwards, when its descriptor is that */
    atomic_fetch_or(&conn->own->state, VN_WITHDRAWN);
    if (phase == VN_OFFERED && is_accepted(conn, fd)) {
        atomic_fetch_and(&conn->own->state, ~(uint32_t)VN_WITHDRAWN);
    } else {
        atomic_store(&conn->leaving, true);
        real_shutdown(fd, SHUT_RDWR);   /* from here on an answer can't be sent */
        if (phase == VN_OFFERED && !conn->verified && !shake_hands(conn)) {
            atomic_store(&conn->error, ECONNRESET);
            atomic_store(&conn->phase, VN_BROKEN);
        } else {
            if (phase == VN_OFFERED)
                hand_over(conn);
            wake_pollers(conn);
            go_plain(conn);
            tell(VN_WHY_withdrawn, &conn->target, fd);
        }
    }
    atomic_store(&conn->leaving, false);
    stream_go(conn, stopped);
    errno = saved;
}

void conn_recall(struct conn *conn, int fd) {
    atomic_store(&conn->recalled, true);   /* who leads does it, within SHARED_MS */
    while (conn->phase == VN_OFFERED || conn->phase == VN_CONNECTING || conn->phase == VN_BROKEN) {
        if (bell_lead(conn)) {
            conn_withdraw(conn, fd);
            bell_step_down(conn);
            break;
        }
        sched_yield();
    }
    atomic_store(&conn->recalled, false);
}
