/* Waiting and waking.
 *
 * A waiter first polls: it looks at memory, with a sched_yield between looks, as long as was worth while lately
 * (at most VNICD_POLL_US). Then it arms (adds itself to `wants` of its own half), looks once more, and sleeps on
 * the bell. The other end, after it has moved a cursor, looks at `wants`; both sides have a full barrier between
 * their store and their look, so one of them sees the other. A bell is rung once for each number in `wants`; a
 * byte too many costs its finder one look.
 *
 * Several threads may wait for one connection. One of them, the leader, sleeps on the bell; the others follow: they
 * sleep on `turn`. Only the leader takes bytes off the bell (who wants to look must become it), and it moves `turn` before
 * it steps down; who becomes leader looks at `turn` before it sleeps. So no byte is taken that another waits for.
 * Processes that share a connection after a fork have no such order among them: they sleep at most SHARED_MS (wait.c).
 */
#include "internal.h"
#include "epoll.h"
#include "parts.h"

#include <limits.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/single_threaded.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOOKS_A_BELL 64
#define MOST_TAKEN 1024

static void ring(struct conn *conn, int fd) {
    char byte = 1;
    int saved = errno;
    atomic_fetch_add_explicit(&conn->own->wakeups, 1, memory_order_relaxed);
    real_send(fd, &byte, 1, MSG_DONTWAIT | MSG_NOSIGNAL);   /* a full bell rings already */
    errno = saved;
}

static void connected(struct conn *conn) {
    struct pollfd socket = {conn->kept, POLLOUT, 0};
    int error = 0;
    socklen_t length = sizeof(error);
    if (real_poll(&socket, 1, 0) <= 0)
        return;
    real_getsockopt(conn->kept, SOL_SOCKET, SO_ERROR, &error, &length);
    if (error == 0 && (socket.revents & (POLLERR | POLLHUP)))
        error = ECONNREFUSED;
    if (error == 0) {
        conn->offered_at = now_ns();
        atomic_store(&conn->phase, VN_OFFERED);
        return;
    }
    broker_forget(&conn->source, &conn->target);
    atomic_store(&conn->error, error);
    atomic_store(&conn->phase, VN_BROKEN);
}

static void answered(struct conn *conn, const void *data, size_t bytes, const int *fds, int count) {
    struct vn_answer answer;
    const struct vn_half *half = NULL;
    if (bytes >= sizeof(answer)) {
        memcpy(&answer, data, sizeof(answer));
        if (answer.magic == VN_ANSWER_MAGIC)
            half = half_map(fds[0]);
    }
    if (half == NULL) {
        atomic_store(&conn->error, ECONNRESET);
        atomic_store(&conn->phase, VN_BROKEN);
        return;
    }
    conn->peer = half;
    atomic_store_explicit(&conn->phase, VN_DIRECT, memory_order_release);
    if (count > 1 && answer.doors == 1 && conn->verified)
        door_learn(&conn->source, &conn->target, fds[1], answer.ticket);
}

bool bell_lead(struct conn *conn) {
    uint32_t nobody = 0;
    return atomic_compare_exchange_strong(&conn->leader, &nobody, 1);
}

void bell_step_down(struct conn *conn) {
    atomic_fetch_add(&conn->turn, 1);
    atomic_store(&conn->leader, 0);
    if (atomic_load(&conn->followers) != 0)
        syscall(SYS_futex, &conn->turn, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

/* An answer that finds no descriptor stays where it is: it can't be sent twice, and its sender goes by it already. */
static ssize_t receive_answer(int fd, void *data, size_t room, int *fds, int *count, bool consume) {
    ssize_t got = message_receive(fd, data, room, fds, count, MSG_DONTWAIT | MSG_PEEK);
    if (got < 0 && errno == EMFILE) {
        spare_lend();
        got = message_receive(fd, data, room, fds, count, MSG_DONTWAIT | MSG_PEEK);
    }
    if (got > 0 && consume)
        real_recv(fd, data, (size_t)got, MSG_DONTWAIT);
    return got;
}

void bell_take_answer(struct conn *conn, int fd) {
    char data[256];
    int fds[VN_MOST_FDS], count;
    ssize_t got = receive_answer(fd, data, sizeof(data), fds, &count, __libc_single_threaded);
    if (got > 0 && count > 0)
        answered(conn, data, (size_t)got, fds, count);
    close_all(fds, count);
    spare_restore();
}

ssize_t bell_take_leading(struct conn *conn, int fd, bool consume) {
    char data[256];
    int fds[VN_MOST_FDS], count, saved = errno;
    if (conn->phase == VN_CONNECTING)
        connected(conn);
    half_answered(conn);
    if (conn->phase == VN_PLAIN)   /* what fd has to say is the program's */
        return -1;
    ssize_t got = conn->phase < VN_DIRECT ? receive_answer(fd, data, sizeof(data), fds, &count, consume)
                                          : message_receive(fd, data, sizeof(data), fds, &count,
                                                            MSG_DONTWAIT | (consume ? 0 : MSG_PEEK));
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR && errno != EMFILE)) {
        half_answered(conn);   /* and closed since */
        if (conn->phase == VN_CONNECTING || conn->phase == VN_OFFERED)
            conn_withdraw(conn, fd);   /* the broker or the other end let the offer go: so it is TCP */
        else if (conn->phase != VN_PLAIN)   /* by another thread, which has shut the bell for that */
            conn->bell_ended = true;
    }
    if (got > 0 && count > 0 && conn->phase == VN_CONNECTING)
        connected(conn);   /* since we looked: who answers has accepted */
    if (got > 0 && count > 0 && conn->phase == VN_OFFERED)
        answered(conn, data, (size_t)got, fds, count);
    close_all(fds, count);
    spare_restore();
    if (UNLIKELY(conn->recalled))
        conn_withdraw(conn, fd);
    if (got >= 0 && conn->watchers != 0)
        epoll_touch(conn);
    errno = saved;
    return got;
}

/* What the other end wants can't be seen yet. */
static void ring_unseen(struct conn *conn, int fd) {
    bool stopped = stream_stop(conn);   /* fd may become the TCP socket under us */
    if (conn->phase != VN_PLAIN)
        ring(conn, fd);
    stream_go(conn, stopped);
}

/* Looks for an answer that may be in memory. False: it can only come by the bell, or somebody else is at that. */
static bool look_for_answer(struct conn *conn, int fd) {
    if (conn->pair.peer == NULL)
        return false;
    if (half_answered(conn))
        return true;
    if (!bell_lead(conn))
        return false;
    bell_take_leading(conn, fd, __libc_single_threaded);
    bell_step_down(conn);
    return true;
}

void bell_ring_if_wanted(struct conn *conn, int fd, uint32_t wants) {
    atomic_thread_fence(memory_order_seq_cst);
    if (UNLIKELY(conn->peer == NULL) && !look_for_answer(conn, fd)) {
        ring_unseen(conn, fd);
        return;
    }
    const struct vn_half *peer = conn->peer;
    if (UNLIKELY(peer == NULL))   /* who accepts it looks at memory before it sleeps */
        return;
    uint64_t theirs = atomic_load_explicit(&peer->wants, memory_order_relaxed);
    bool wanted = ((wants & VN_WANT_DATA) && VN_WANTS_DATA(theirs)) || ((wants & VN_WANT_ROOM) && VN_WANTS_ROOM(theirs));
    if (LIKELY(!wanted))
        return;
    if (!(wants & VN_WANT_DATA)) {   /* room: not before there is as much as a poll would call writable */
        uint64_t used = peer->head - conn->own->tail;
        if (used > stream_writable(peer, conn->own))
            return;
    }
    uint64_t number = theirs / VN_WANT_STEP + 1;   /* 0: none was answered yet */
    if (atomic_exchange(&conn->own->rung, number) == number)
        return;
    ring(conn, fd);
}

void bell_take_all(struct conn *conn, int fd) {
    if (!bell_lead(conn))
        return;
    for (int i = 0; i < MOST_TAKEN && bell_take_leading(conn, fd, true) > 0; i++)
        ;
    bell_step_down(conn);
}

void bell_take(struct conn *conn, int fd) {
    if (!bell_lead(conn))   /* who leads will take it */
        return;
    bell_take_leading(conn, fd, true);
    bell_step_down(conn);
}

/* Another thread may sleep on the bell, or be about to, by poll perhaps: what is taken off it now would not wake him. */
void bell_glance(struct conn *conn, int fd) {
    struct pollfd bell = {fd, POLLRDHUP, 0};
    if (__libc_single_threaded)
        bell_take(conn, fd);
    else if (conn->phase == VN_DIRECT && real_poll(&bell, 1, 0) > 0)
        bell_take_all(conn, fd);   /* it has ended, which wakes everybody */
    else if (conn->phase != VN_DIRECT && bell_lead(conn)) {
        bell_take_leading(conn, fd, false);
        bell_step_down(conn);
    }
}

void bell_look_sometimes(struct conn *conn, int fd) {
    if (conn->phase != VN_DIRECT ? !half_answered(conn) : ++conn->quiet_looks % LOOKS_A_BELL == 0)
        bell_glance(conn, fd);
}

void bell_arm(struct conn *conn, unsigned events) {
    uint64_t add = VN_WANT_STEP + (events & POLLIN ? VN_WANT_DATA : 0) + (events & POLLOUT ? VN_WANT_ROOM : 0);
    atomic_fetch_add(&conn->own->wants, add);
    atomic_thread_fence(memory_order_seq_cst);
}

void bell_disarm(struct conn *conn, unsigned events) {
    uint64_t less = (events & POLLIN ? VN_WANT_DATA : 0) + (events & POLLOUT ? VN_WANT_ROOM : 0);
    atomic_fetch_add(&conn->own->wants, VN_WANT_STEP - less);
}

int bell_sources(struct conn *conn, int fd, unsigned events, struct pollfd *fds) {
    (void)events;
    fds[0] = (struct pollfd){fd, POLLIN, 0};
    if (conn->phase != VN_CONNECTING)
        return 1;
    fds[1] = (struct pollfd){conn->kept, POLLOUT, 0};
    return 2;
}

uint64_t conn_due(struct conn *conn) {
    return conn->phase == VN_OFFERED && conn->verified ? conn->offered_at + vn_settings.answer_ns : 0;
}

void conn_serve_due(struct conn *conn, int fd) {
    uint64_t due = conn_due(conn);
    if (due == 0 || now_ns() < due || !bell_lead(conn))   /* who leads may be reading from fd, and it becomes another */
        return;
    conn_withdraw(conn, fd);
    bell_step_down(conn);
}
