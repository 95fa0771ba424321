/* The loop of a relay process: bytes between a direct connection and a Unix stream socket, each way with its end.
 *
 * It must not read from the connection for somebody who never does: a child that merely inherited the descriptor,
 * whose parent goes on reading. So the first bytes are only lent: copied into the Unix socket, and taken from the
 * connection when that socket's reader has read them. Who has read once is a reader, and bytes are then just moved.
 * An end right behind what was lent is passed on at once: TCP reports it (EPOLLRDHUP) also to who never reads.
 *
 * No memory is allocated and no table is used (so the real functions only, the table is the program's): a thread of
 * the program may have had a lock when this was cloned.
 */
#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/real.h"
#include "relay/relay.h"
#include "stream/doorbell.h"
#include "stream/ring.h"

#define BUFFER (64 * 1024)
#define LENT_MOST (16 * 1024)
struct way {
    char data[BUFFER];
    size_t start, end; /* what is in data and not yet gone */
    bool over;
};

static struct way inward, outward; /* from the connection, to the connection */
static bool reader;                /* the program's side has read something */
static size_t lent;
static uint64_t lent_at;
static bool end_told;  /* while something is lent */
static int watch = -1; /* an epoll descriptor: the doorbell, and whether the Unix socket's reader has read */

static bool is_empty(const struct way *way) {
    return way->start == way->end;
}

/* The kernel closes: the far end hears of it when nobody else has the doorbell. */
static void finish(void) {
    real_syscall(SYS_exit_group, 0);
}

static void end_inward(int end) {
    inward.over = true;
    real_shutdown(end, SHUT_WR);
}

/* All that was lent has left the Unix socket: read, or thrown away by a close (the kernel then says ECONNRESET). */
static void settle_lent(struct conn *conn, int end) {
    struct iovec place = {inward.data, lent};
    int error = 0;
    socklen_t length = sizeof(error);
    bool at_end;
    real_getsockopt(end, SOL_SOCKET, SO_ERROR, &error, &length);
    if (error != 0)
        inward.over = true;
    else if (conn->own->tail == lent_at) /* else somebody else reads as well: with TCP too each gets a part */
        stream_read(conn, &place, 1, 0, false, &at_end);
    doorbell_ring_if_wanted(conn, VN_ARMED_ROOM);
    lent = 0;
    reader = error == 0;
}

/* Whether the other end has sent nothing beyond what was lent: then only its end can follow. */
static bool is_all_lent(const struct conn *conn) {
    return lent > 0 && atomic_load(&conn->peer->head) - lent_at == lent;
}

static void tell_end_behind(struct conn *conn, int end) {
    bool has_ended = stream_events(conn, POLLRDHUP) & POLLRDHUP; /* asked first: nothing is sent after it */
    if (!has_ended || !is_all_lent(conn))
        return;
    end_told = true;
    real_shutdown(end, SHUT_WR);
}

/* Lends bytes, or looks whether those that are lent were read. True when something happened. */
static bool lend(struct conn *conn, int end) {
    struct iovec place = {inward.data, LENT_MOST};
    bool at_end;
    int unread = 0;
    if (lent > 0) {
        if (!end_told)
            tell_end_behind(conn, end);
        if (real_ioctl(end, SIOCOUTQ, &unread) != 0 || unread > 0)
            return false;
        settle_lent(conn, end);
        return true;
    }
    lent_at = conn->own->tail;
    ssize_t n = stream_read(conn, &place, 1, 0, true, &at_end);
    if (n < 0)
        finish();
    if (n == 0 && at_end)
        end_inward(end);
    if (n > 0) {
        ssize_t sent = quiet_send(end, inward.data, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent <= 0) /* its reader is gone */
            inward.over = true;
        else
            lent = (size_t)sent;
        tell_end_behind(conn, end);
    }
    return n > 0 || at_end;
}

static bool move_inward(struct conn *conn, int end) {
    bool moved = false;
    if (is_empty(&inward)) {
        struct iovec place = {inward.data, BUFFER};
        bool at_end;
        ssize_t n = stream_read(conn, &place, 1, 0, false, &at_end);
        if (n < 0)
            finish(); /* with what it wrote unread here, the program sees a reset, else an end */
        if (n == 0 && at_end)
            end_inward(end);
        if (n > 0)
            doorbell_ring_if_wanted(conn, VN_ARMED_ROOM);
        inward.start = 0;
        inward.end = (size_t)n;
        moved = n > 0 || at_end;
    }
    if (!is_empty(&inward)) {
        ssize_t n = quiet_send(end, inward.data + inward.start, inward.end - inward.start, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0)
            inward.start += (size_t)n;
        else if (errno != EAGAIN && errno != EINTR) {
            inward.over = true;
            inward.start = inward.end;
        }
        moved |= n > 0 || inward.over;
    }
    return moved;
}

/* The program's side will write no more. The far end is not notified of a close: another process may have the
 * connection too, and the far end hears of the last one's end by the doorbell. */
static void end_outward(struct conn *conn, int end) {
    struct pollfd look = {end, 0, 0};
    outward.over = true;
    if (quiet_poll(&look, 1, 0) > 0 && (look.revents & POLLHUP)) {
        if (lent > 0)
            settle_lent(conn, end);
        finish();
    }
    atomic_fetch_or(&conn->own->state, VN_FIN);
    doorbell_ring_if_wanted(conn, VN_ARMED_DATA);
}

static bool move_outward(struct conn *conn, int end) {
    bool moved = false;
    if (is_empty(&outward)) {
        ssize_t n = quiet_recv(end, outward.data, BUFFER, MSG_DONTWAIT);
        outward.start = 0;
        outward.end = n > 0 ? (size_t)n : 0;
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
            if (n < 0)
                lent = 0; /* closed with them unread: they stay in the connection */
            end_outward(conn, end);
            return true;
        }
        moved = n > 0;
    }
    if (!is_empty(&outward)) {
        struct iovec place = {outward.data + outward.start, outward.end - outward.start};
        ssize_t n = stream_write(conn, &place, 1, 0);
        if (n < 0) {
            outward.over = true;
            outward.start = outward.end;
            real_shutdown(end, SHUT_RD); /* the program's next write gets EPIPE */
            return true;
        }
        outward.start += (size_t)n;
        if (conn_phase(conn) == CONN_BROKEN) { /* the last write that succeeds, as by TCP */
            outward.over = true;
            real_shutdown(end, SHUT_RD);
        }
        if (n > 0)
            doorbell_ring_if_wanted(conn, VN_ARMED_DATA);
        moved |= n > 0;
    }
    return moved;
}

static bool step(struct conn *conn, int end) {
    bool moved = false;
    if (!inward.over)
        moved |= reader ? move_inward(conn, end) : lend(conn, end);
    if (!outward.over)
        moved |= move_outward(conn, end);
    if (inward.over && outward.over)
        finish();
    return moved;
}

/* Sleeps until something may have changed. */
static void sleep_until_news(struct conn *conn, int tcp, int end) {
    struct epoll_event events[4];
    bool asks = !inward.over && is_empty(&inward) && lent == 0;
    bool heeds_end = !inward.over && !end_told && is_all_lent(conn);
    unsigned wanted = (asks ? POLLIN : 0) | (heeds_end ? POLLRDHUP : 0) | (is_empty(&outward) ? 0 : POLLOUT);
    unsigned armed = (wanted & POLLOUT) | (asks || heeds_end ? POLLIN : 0);
    short of_end = (short)((is_empty(&outward) && !outward.over ? POLLIN : 0) | (is_empty(&inward) ? 0 : POLLOUT));
    struct pollfd fds[2] = {{watch, POLLIN, 0}, {end, of_end, 0}};
    doorbell_arm(conn, armed);
    if ((stream_events(conn, wanted) & wanted) == 0)
        quiet_poll(fds, 2, -1);
    doorbell_disarm(conn, armed);
    if (outward.over && (fds[1].revents & POLLHUP)) /* closed: nobody is left to read or write */
        finish();
    int count = real_epoll_pwait(watch, events, 4, 0, NULL);
    for (int i = 0; i < count; i++)
        if (events[i].data.fd == tcp)
            conn_has_ended(conn, tcp);
        else if (events[i].data.fd == conn->doorbell && events[i].events & (EPOLLHUP | EPOLLRDHUP))
            conn_note_end(conn, tcp);
    doorbell_keep_short(conn);
}

/* The edges of the doorbell and of the TCP socket, and those of the program's end when its reader has read. */
static void begin(struct conn *conn, int tcp, int end) {
    struct epoll_event of_doorbell = {EPOLLIN | EPOLLRDHUP | EPOLLET, {.fd = conn->doorbell}};
    struct epoll_event of_tcp = {EPOLLRDHUP | EPOLLET, {.fd = tcp}};
    struct epoll_event of_end = {EPOLLOUT | EPOLLET, {.fd = end}};
    watch = quiet_epoll();
    if (watch < 0 || real_epoll_ctl(watch, EPOLL_CTL_ADD, conn->doorbell, &of_doorbell) != 0 ||
        real_epoll_ctl(watch, EPOLL_CTL_ADD, tcp, &of_tcp) != 0 ||
        real_epoll_ctl(watch, EPOLL_CTL_ADD, end, &of_end) != 0)
        finish(); /* with three descriptors and no memory: the connection ends */
}

void relay_run(struct conn *conn, int tcp, int end) {
    begin(conn, tcp, end);
    for (;;) {
        while (step(conn, end))
            continue;
        sleep_until_news(conn, tcp, end);
    }
}
