/* read, write and the send and recv families, on direct connections. */
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/single_threaded.h>
#include <unistd.h>

#include "base/process.h"
#include "base/real.h"
#include "base/signals.h"
#include "handshake/progress.h"
#include "hooks/numbers.h"
#include "relay/passing.h"
#include "stream/deaths.h"
#include "stream/doorbell.h"
#include "stream/pieces.h"
#include "stream/ring.h"
#include "wait/block.h"
#include "wait/plain.h"
#include "wait/sleeper.h"
#include "watch/watch.h"

#define PLAIN (-2) /* the descriptor has become plain TCP: use the real function */
#define ANEW (-3)  /* it means something else: the call begins anew */

static ssize_t fail(int error) {
    errno = error;
    return -1;
}

/* A call that has waited in vain, and has moved `total` bytes. Made anew, it is for whatever has the number now. */
static ssize_t given_up(size_t total) {
    return total != 0 ? (ssize_t)total : errno == ERESTART ? ANEW : -1;
}

/* The connection fell back. If its number was closed under this call, TCP goes on with the socket that it has. */
static ssize_t gone_plain(const struct conn *conn, const struct iovec *iov, size_t count, int flags, size_t total,
                          bool sends) {
    const struct vn_region *own = conn->own;
    struct msghdr message = {.msg_iov = (struct iovec *)iov, .msg_iovlen = count};
    uint64_t timeout = sends ? own->send_timeout_ns : own->receive_timeout_ns;
    if (total != 0 || conn->tcp < 0)
        return total != 0 ? (ssize_t)total : PLAIN;
    if (!(flags & MSG_DONTWAIT)) { /* as it was when the call began */
        int interrupted, count = sleeper_poll(conn->tcp, sends ? POLLOUT : POLLIN, timeout != 0 ? timeout : FOR_EVER,
                                              timeout == 0, &interrupted);
        if (count < 0) {
            errno = interrupted;
            return given_up(0);
        }
    }
    struct opening opening;
    handlers_open(&opening);
    ssize_t result = sends ? real_sendmsg(conn->tcp, &message, flags) : real_recvmsg(conn->tcp, &message, flags);
    handlers_close(&opening);
    return result;
}

/* Another sleep number, for who is notified of everything by a signal and never goes to sleep. */
static inline void rearm_signals(struct conn *conn) {
    if (LIKELY(!conn->wants_signals))
        return;
    atomic_fetch_add(&conn->own->sleep_number, 1);
    doorbell_keep_short(conn); /* a full doorbell makes no signals */
}

/* How many bytes a receive waits for. */
static size_t target_of(const struct conn *conn, size_t want, int flags) {
    if (UNLIKELY(flags & MSG_WAITALL))
        return want;
    size_t low_water = stream_low_water(conn);
    return LIKELY(low_water <= 1) ? 1 : low_water < want ? low_water : want;
}

static void look_for_end(struct conn *conn, int fd) {
    if (conn_phase(conn) < CONN_DIRECT)
        progress_serve(conn, fd);
    conn_has_ended(conn, fd);
}

/* recv for no bytes tells whether there are some; one into no memory fails then, and not before. */
static ssize_t receive_nothing(struct conn *conn, int fd, bool wait, bool bad) {
    bool end = false;
    struct iovec nowhere = {NULL, 1};
    ssize_t n = stream_read(conn, &nowhere, 1, 0, true, &end);
    if (n < 0)
        return -1;
    if (n > 0)
        return bad ? fail(EFAULT) : 0;
    if (end)
        return 0;
    if (conn_phase(conn) == CONN_PLAIN)
        return gone_plain(conn, &nowhere, 0, wait ? 0 : MSG_DONTWAIT, 0, false);
    if (!wait) {
        block_look(conn, fd);
        return stream_events(conn, POLLIN) != 0 ? receive_nothing(conn, fd, true, bad) : fail(EAGAIN);
    }
    /* As TCP: whatever ends the wait, be it a signal, also of a handler that restarts, or an error, which stays pending. */
    if (block(conn, fd, POLLIN, block_deadline(&conn->own->receive_timeout_ns), !bad) != 0 && bad)
        return given_up(0);
    if (conn_phase(conn) == CONN_PLAIN)
        return gone_plain(conn, &nowhere, 0, 0, 0, false);
    return bad ? receive_nothing(conn, fd, false, bad) : 0;
}

static ssize_t receive(struct conn *conn, int fd, const struct iovec *iov, size_t count, int flags) {
    bool peek = flags & MSG_PEEK, wait = !(flags & MSG_DONTWAIT) && !conn_is_nonblocking(conn), looked = false;
    size_t want, total = 0;
    uint64_t until = 0;
    struct pieces pieces;
    int error = pieces_judge(iov, count, EMSGSIZE, !(flags & MSG_TRUNC), &pieces);
    if (UNLIKELY(error != 0))
        return fail(error);
    count = pieces.count;
    want = pieces.bytes;
    if (UNLIKELY(flags & (MSG_OOB | MSG_ERRQUEUE)))
        return fail(flags & MSG_OOB ? EINVAL : EAGAIN);
    if (UNLIKELY(atomic_load_explicit(&conn->own->shut_read, memory_order_relaxed)))
        look_for_end(conn, fd); /* it would see its own end before the other's */
    if (UNLIKELY(want == 0)) {
        look_for_end(conn, fd);
        return receive_nothing(conn, fd, wait, pieces.bad);
    }
    size_t target = target_of(conn, want, flags);
    for (;;) {
        bool end = false;
        ssize_t n = UNLIKELY(flags & MSG_TRUNC) ? stream_discard(conn, peek ? want : want - total, peek, &end)
                                                : stream_read(conn, iov, (int)count, peek ? 0 : total, peek, &end);
        if (n > 0) {
            total = peek ? (size_t)n : total + (size_t)n;
            if (!peek)
                doorbell_ring_if_armed(conn, VN_ARMED_ROOM);
            rearm_signals(conn);
            progress_look_for_nudge(conn, fd);
            if (total >= target)
                return (ssize_t)total;
        }
        if (n < 0 && total != 0)
            conn_give_back_error(conn, errno);
        if (n < 0 || end)
            return total != 0 ? (ssize_t)total : n;
        if (UNLIKELY(conn_phase(conn) == CONN_PLAIN))
            return gone_plain(conn, iov, count, wait ? flags : flags | MSG_DONTWAIT, total, false);
        if (!wait) {
            if (total != 0)
                return (ssize_t)total;
            if (!looked) {
                block_look(conn, fd);
                looked = true;
                continue;
            }
            return fail(EAGAIN);
        }
        until = until != 0 ? until : block_deadline(&conn->own->receive_timeout_ns);
        size_t few = peek ? target : flags & MSG_WAITALL ? 1 : target - total; /* others see what SO_RCVLOWAT leaves */
        bool over = block_for_bytes(conn, fd, few, until, total != 0) != 0;
        if (over && stream_readable(conn) == 0)
            return given_up(total);
        if (over || (peek && n > 0 && stream_readable(conn) < target))
            target = 1; /* a signal, the end, or an error: what is there has to do */
    }
}

static ssize_t failed_write(int flags) {
    int error = errno;
    if (error == EPIPE && !(flags & MSG_NOSIGNAL))
        signals_broken_pipe();
    return fail(error);
}

static ssize_t transmit(struct conn *conn, int fd, const struct iovec *iov, size_t count, int flags) {
    bool wait = !(flags & MSG_DONTWAIT) && !conn_is_nonblocking(conn), looked = false;
    size_t want, total = 0;
    uint64_t until = 0;
    struct pieces pieces;
    int error = pieces_judge(iov, count, EMSGSIZE, true, &pieces);
    if (UNLIKELY(error != 0))
        return fail(error);
    count = pieces.count;
    want = pieces.bytes;
    if (UNLIKELY(flags & MSG_OOB))
        return fail(EOPNOTSUPP);
    if (UNLIKELY(conn_phase(conn) < CONN_DIRECT))
        progress_serve(conn, fd); /* it may have been answered, and closed since */
    /* Before the bytes are there: what was unread when the other end died tells a reset from a FIN. */
    deaths_look_by_time(conn, fd);
    for (;;) {
        ssize_t n = 0;
        enum phase before = conn_phase(conn);
        if (LIKELY(before != CONN_CONNECTING))
            n = stream_write(conn, iov, (int)count, total);
        if (UNLIKELY(n == 0 && pieces.bad && want == 0))
            return fail(EFAULT);
        enum phase phase = conn_phase(conn);
        if (UNLIKELY(phase == CONN_BROKEN && before != CONN_BROKEN))
            progress_notify(conn); /* the others of this process: no doorbell does */
        if (n > 0 || (n == 0 && want == 0 && phase > CONN_CONNECTING && phase != CONN_PLAIN)) {
            total += (size_t)n;
            conn->writes++;
            if (UNLIKELY(conn_phase(conn) == CONN_OFFERED))
                block_look(conn, fd);
            doorbell_ring_if_armed(conn, VN_ARMED_DATA);
            rearm_signals(conn);
            if (total == want)
                return (ssize_t)total;
        }
        if (n < 0 && total != 0)
            conn_give_back_error(conn, errno);
        if (n < 0)
            return total != 0 ? (ssize_t)total : failed_write(flags);
        if (UNLIKELY(conn_phase(conn) == CONN_PLAIN && total != 0 && wait))
            return (ssize_t)plain_send_rest(conn, fd, iov, count, flags, total);
        if (UNLIKELY(conn_phase(conn) == CONN_PLAIN))
            return gone_plain(conn, iov, count, wait ? flags : flags | MSG_DONTWAIT, total, true);
        if (n > 0)
            continue;
        if (!wait) {
            if (!looked) {
                block_look(conn, fd);
                looked = true;
                continue;
            }
            if (conn->watchers != 0)
                watch_touch(conn);
            return total != 0 ? (ssize_t)total : fail(EAGAIN);
        }
        if (until == 0)
            until = block_deadline(&conn->own->send_timeout_ns);
        if (block(conn, fd, POLLOUT, until, total != 0) != 0)
            return given_up(total);
    }
}

/* Does `call` on the connection that fd is, or returns PLAIN. */
#define ON_CONNECTION(result, call) \
    ssize_t result = PLAIN; \
    struct conn *conn; \
    int errno_before = errno; /* which a call that succeeds leaves alone */ \
    READY(); \
    if (!__libc_single_threaded && entry_of(fd) != NULL) \
        pthread_testcancel(); \
    while (UNLIKELY(conn_of(fd) != NULL)) { \
        handlers_hold(); /* they run in its sleeps, and when it is done */ \
        if ((conn = (struct conn *)entry_hold_kind(fd, ENTRY_CONN)) != NULL) { \
            if ((LIKELY(conn_phase(conn) >= CONN_DIRECT) || !number_is_waited_unseen(conn, fd)) && \
                LIKELY(!number_is_foreign(conn, fd))) \
                result = call; \
            if (UNLIKELY(atomic_load_explicit(&conn->goodbye_owed, memory_order_relaxed))) \
                block_done(conn); \
            conn_release(conn); \
            if (LIKELY(result >= 0 || result == PLAIN)) \
                errno = errno_before; \
        } \
        handlers_release(); \
        if (LIKELY(result != ANEW)) \
            break; \
        result = PLAIN; \
    }

/* read, readv and writev of no bytes return at once. */
static ssize_t vector_read(struct conn *conn, int fd, const struct iovec *iov, int count, int flags) {
    struct pieces pieces;
    int error = pieces_judge(iov, (size_t)count, EINVAL, true, &pieces);
    if (UNLIKELY(error != 0))
        return fail(error);
    return pieces.bytes == 0 && !pieces.bad ? 0 : receive(conn, fd, iov, (size_t)count, flags);
}

static ssize_t vector_write(struct conn *conn, int fd, const struct iovec *iov, int count, int flags) {
    struct pieces pieces;
    int error = pieces_judge(iov, (size_t)count, EINVAL, true, &pieces);
    if (UNLIKELY(error != 0))
        return fail(error);
    return pieces.bytes == 0 && !pieces.bad ? 0 : transmit(conn, fd, iov, (size_t)count, flags);
}

EXPORT ssize_t readv(int fd, const struct iovec *iov, int count) {
    ON_CONNECTION(result, vector_read(conn, fd, iov, count, 0))
    return result != PLAIN ? result : real_readv(fd, iov, count);
}

EXPORT ssize_t writev(int fd, const struct iovec *iov, int count) {
    ON_CONNECTION(result, vector_write(conn, fd, iov, count, 0))
    return result != PLAIN ? result : real_writev(fd, iov, count);
}

EXPORT ssize_t read(int fd, void *data, size_t bytes) {
    struct iovec iov = {data, bytes};
    ON_CONNECTION(result, LIKELY(bytes != 0) ? receive(conn, fd, &iov, 1, 0) : 0)
    return result != PLAIN ? result : real_read(fd, data, bytes);
}

EXPORT ssize_t write(int fd, const void *data, size_t bytes) {
    struct iovec iov = {(void *)data, bytes};
    ON_CONNECTION(result, transmit(conn, fd, &iov, 1, 0))
    return result != PLAIN ? result : real_write(fd, data, bytes);
}

EXPORT ssize_t __read(int fd, void *data, size_t bytes) {
    return read(fd, data, bytes);
}

EXPORT ssize_t __write(int fd, const void *data, size_t bytes) {
    return write(fd, data, bytes);
}

/* At the offset -1 these are readv and writev with flags. */
static int flags_of(int flags) {
    return flags & RWF_NOWAIT ? MSG_DONTWAIT : 0;
}

EXPORT ssize_t preadv2(int fd, const struct iovec *iov, int count, off_t offset, int flags) {
    REAL(ssize_t, "preadv2", (int, const struct iovec *, int, off_t, int));
    ON_CONNECTION(result, offset == -1 ? vector_read(conn, fd, iov, count, flags_of(flags)) : PLAIN)
    return result != PLAIN ? result : real(fd, iov, count, offset, flags);
}

EXPORT ssize_t preadv64v2(int fd, const struct iovec *iov, int count, off64_t offset, int flags) {
    return preadv2(fd, iov, count, offset, flags);
}

EXPORT ssize_t pwritev2(int fd, const struct iovec *iov, int count, off_t offset, int flags) {
    REAL(ssize_t, "pwritev2", (int, const struct iovec *, int, off_t, int));
    ON_CONNECTION(result, offset == -1 ? vector_write(conn, fd, iov, count, flags_of(flags)) : PLAIN)
    return result != PLAIN ? result : real(fd, iov, count, offset, flags);
}

EXPORT ssize_t pwritev64v2(int fd, const struct iovec *iov, int count, off64_t offset, int flags) {
    return pwritev2(fd, iov, count, offset, flags);
}

EXPORT ssize_t recv(int fd, void *data, size_t bytes, int flags) {
    struct iovec iov = {data, bytes};
    ON_CONNECTION(result, receive(conn, fd, &iov, 1, flags))
    return result != PLAIN ? result : real_recv(fd, data, bytes, flags);
}

EXPORT ssize_t send(int fd, const void *data, size_t bytes, int flags) {
    struct iovec iov = {(void *)data, bytes};
    ON_CONNECTION(result, transmit(conn, fd, &iov, 1, flags))
    return result != PLAIN ? result : real_send(fd, data, bytes, flags);
}

EXPORT ssize_t __send(int fd, const void *data, size_t bytes, int flags) {
    return send(fd, data, bytes, flags);
}

EXPORT ssize_t recvfrom(int fd, void *data, size_t bytes, int flags, struct sockaddr *from, socklen_t *length) {
    struct iovec iov = {data, bytes};
    ON_CONNECTION(result, receive(conn, fd, &iov, 1, flags))
    if (result == PLAIN)
        return real_recvfrom(fd, data, bytes, flags, from, length);
    if (result >= 0 && from != NULL && length != NULL)
        *length = 0; /* as TCP: the address is not filled in */
    return result;
}

EXPORT ssize_t sendto(int fd, const void *data, size_t bytes, int flags, const struct sockaddr *to, socklen_t length) {
    struct iovec iov = {(void *)data, bytes};
    ON_CONNECTION(result, transmit(conn, fd, &iov, 1, flags))
    return result != PLAIN ? result : real_sendto(fd, data, bytes, flags, to, length);
}

static ssize_t receive_message(struct conn *conn, int fd, struct msghdr *message, int flags) {
    return is_bad(message) ? fail(EFAULT) : receive(conn, fd, message->msg_iov, message->msg_iovlen, flags);
}

/* TCP has no control data of its own, but the kernel judges what is there; with no bytes it sends nothing. */
static bool refuses_control(struct conn *conn, int fd, const struct msghdr *message) {
    struct msghdr empty = {.msg_control = message->msg_control, .msg_controllen = message->msg_controllen};
    int saved = errno, tcp = conn_pin(conn, fd);
    bool refused = tcp >= 0 && real_sendmsg(tcp, &empty, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 &&
                   (errno == EINVAL || errno == EFAULT || errno == EPERM);
    conn_unpin(conn);
    if (!refused)
        errno = saved;
    return refused;
}

static ssize_t transmit_message(struct conn *conn, int fd, const struct msghdr *message, int flags) {
    if (!is_bad(message) && UNLIKELY(message->msg_controllen != 0) && refuses_control(conn, fd, message))
        return -1;
    return is_bad(message) ? fail(EFAULT) : transmit(conn, fd, message->msg_iov, message->msg_iovlen, flags);
}

/* Descriptors that came with a message have numbers like any new ones. */
static ssize_t with_descriptors(struct msghdr *message, ssize_t result) {
    if (LIKELY(entry_highest < 0) || result < 0 || is_bad(message) || message->msg_controllen == 0)
        return result;
    for (struct cmsghdr *each = CMSG_FIRSTHDR(message); each != NULL; each = CMSG_NXTHDR(message, each)) {
        if (each->cmsg_level != SOL_SOCKET || each->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t at = CMSG_LEN(0); at + sizeof(int) <= each->cmsg_len; at += sizeof(int)) {
            int number;
            memcpy(&number, (const char *)each + at, sizeof(number));
            number_made(number);
        }
    }
    return result;
}

EXPORT ssize_t recvmsg(int fd, struct msghdr *message, int flags) {
    ON_CONNECTION(result, receive_message(conn, fd, message, flags))
    if (result == PLAIN)
        return with_descriptors(message, real_recvmsg(fd, message, flags));
    if (result >= 0) {
        message->msg_namelen = 0;
        message->msg_controllen = 0;
        message->msg_flags = 0;
    }
    return result;
}

EXPORT ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    ON_CONNECTION(result, transmit_message(conn, fd, message, flags))
    if (result != PLAIN)
        return result;
    return !is_bad(message) && message->msg_controllen != 0 ? passing_sendmsg(fd, message, flags)
                                                            : real_sendmsg(fd, message, flags);
}

static int pending_error(int fd) {
    HANDLERS_WAIT();
    struct conn *conn = conn_hold(fd);
    int error = 0;
    if (conn == NULL)
        return 0;
    block_look(conn, fd);
    stream_absorb(conn);
    if (conn_phase(conn) == CONN_BROKEN)
        error = conn_take_error(conn);
    conn_release(conn);
    return error;
}

EXPORT int recvmmsg(int fd, struct mmsghdr *messages, unsigned count, mmsg_flags flags, struct timespec *timeout) {
    READY();
    if (LIKELY(conn_of(fd) == NULL))
        return real_recvmmsg(fd, messages, count, flags, timeout);
    if (!is_time(timeout))
        return (int)fail(is_bad_option(timeout) ? EFAULT : EINVAL);
    uint64_t deadline = time_ns(timeout) != FOR_EVER ? now_ns() + time_ns(timeout) : 0;
    int error = flags & MSG_ERRQUEUE ? 0 : pending_error(fd);
    if (error != 0)
        return (int)fail(error); /* which the kernel looks for before the first message */
    unsigned done = 0;
    while (done < count && done < MOST_PIECES) {
        int wait = done == 0 ? flags & ~MSG_WAITFORONE : flags | (flags & MSG_WAITFORONE ? MSG_DONTWAIT : 0);
        ssize_t n = recvmsg(fd, &messages[done].msg_hdr, wait & ~MSG_WAITFORONE);
        if (n < 0)
            return done != 0 ? (int)done : -1;
        messages[done++].msg_len = (unsigned)n;
        if (deadline != 0 && now_ns() >= deadline) /* which the kernel looks at between messages, too */
            break;
    }
    return (int)done;
}

EXPORT int sendmmsg(int fd, struct mmsghdr *messages, unsigned count, mmsg_flags flags) {
    READY();
    if (LIKELY(conn_of(fd) == NULL))
        return passing_sendmmsg(fd, messages, count, flags);
    unsigned done = 0;
    while (done < count && done < MOST_PIECES) {
        const struct msghdr *message = &messages[done].msg_hdr;
        size_t bytes = 0;
        ssize_t n = sendmsg(fd, message, flags);
        if (n < 0)
            return done != 0 ? (int)done : -1;
        for (size_t i = 0; i < (size_t)message->msg_iovlen; i++)
            bytes += message->msg_iov[i].iov_len;
        messages[done++].msg_len = (unsigned)n;
        if ((size_t)n < bytes)
            break;
    }
    return (int)done;
}

__attribute__((noreturn)) extern void __chk_fail(void);

EXPORT ssize_t __read_chk(int fd, void *data, size_t bytes, size_t room) {
    if (bytes > room)
        __chk_fail();
    return read(fd, data, bytes);
}

EXPORT ssize_t __recv_chk(int fd, void *data, size_t bytes, size_t room, int flags) {
    if (bytes > room)
        __chk_fail();
    return recv(fd, data, bytes, flags);
}

EXPORT ssize_t __recvfrom_chk(int fd, void *data, size_t bytes, size_t room, int flags, struct sockaddr *from,
                              socklen_t *length) {
    if (bytes > room)
        __chk_fail();
    return recvfrom(fd, data, bytes, flags, from, length);
}
