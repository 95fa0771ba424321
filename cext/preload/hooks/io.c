/* read, write and the send and recv families, on direct connections. */
#include "internal.h"
#include "epoll.h"
#include "relay/passing.h"

#include <netinet/in.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#define PLAIN (-2)   /* the descriptor has become the TCP socket again: use the real function */

static size_t length_of(const struct iovec *iov, int count) {
    size_t bytes = 0;
    for (int i = 0; i < count; i++)
        bytes += iov[i].iov_len;
    return bytes;
}

static uint64_t deadline(uint64_t timeout_ns) {
    return timeout_ns != 0 ? now_ns() + timeout_ns : 0;
}

/* MSG_TRUNC: TCP throws the bytes away instead of copying them. */
static ssize_t discard(struct conn *conn, size_t bytes, bool *end) {
    char scrap[4096];
    struct iovec iov = {scrap, bytes < sizeof(scrap) ? bytes : sizeof(scrap)};
    return stream_read(conn, &iov, 1, 0, false, end);
}

static ssize_t receive(struct conn *conn, int fd, const struct iovec *iov, int count, int flags) {
    bool peek = flags & MSG_PEEK, wait = !(flags & MSG_DONTWAIT) && !conn->nonblocking, looked = false;
    size_t want = length_of(iov, count), total = 0;
    uint64_t until = 0;
    if (flags & (MSG_OOB | MSG_ERRQUEUE)) {
        errno = flags & MSG_OOB ? EINVAL : EAGAIN;
        return -1;
    }
    if (want == 0)
        return 0;
    for (;;) {
        bool end = false;
        ssize_t n = UNLIKELY(flags & MSG_TRUNC) ? discard(conn, want - total, &end)
                                                : stream_read(conn, iov, count, total, peek, &end);
        if (n > 0) {
            total += (size_t)n;
            if (!peek)
                bell_ring_if_wanted(conn, fd, VN_WANT_ROOM);
            if (total == want || !(flags & MSG_WAITALL) || peek)
                return (ssize_t)total;
            continue;
        }
        if (n < 0 || end)
            return total != 0 ? (ssize_t)total : n;
        if (conn->phase == VN_PLAIN)
            return total != 0 ? (ssize_t)total : PLAIN;
        if (!wait) {
            if (!looked) {
                bell_look_sometimes(conn, fd);
                looked = true;
                continue;
            }
            errno = EAGAIN;
            return total != 0 ? (ssize_t)total : -1;
        }
        if (until == 0)
            until = deadline(conn->receive_timeout_ns);
        if (conn_wait(conn, fd, POLLIN, until) != 0)
            return total != 0 ? (ssize_t)total : -1;
    }
}

static ssize_t transmit(struct conn *conn, int fd, const struct iovec *iov, int count, int flags) {
    bool wait = !(flags & MSG_DONTWAIT) && !conn->nonblocking, looked = false;
    size_t want = length_of(iov, count), total = 0;
    uint64_t until = 0;
    if (flags & MSG_OOB) {
        errno = EOPNOTSUPP;
        return -1;
    }
    for (;;) {
        ssize_t n = 0;
        if (LIKELY(conn->phase != VN_CONNECTING && conn->phase != VN_PLAIN))
            n = stream_write(conn, iov, count, total);
        if (n > 0 || want == 0) {
            total += (size_t)n;
            bell_ring_if_wanted(conn, fd, VN_WANT_DATA);
            if (total == want)
                return (ssize_t)total;
        }
        if (n < 0) {
            if (total != 0)
                return (ssize_t)total;
            int error = errno;
            if (error == EPIPE && !(flags & MSG_NOSIGNAL))
                raise(SIGPIPE);
            errno = error;
            return -1;
        }
        if (conn->phase == VN_PLAIN)
            return total != 0 ? (ssize_t)total : PLAIN;
        if (n > 0)
            continue;
        if (!wait) {
            if (!looked) {
                bell_look_sometimes(conn, fd);
                looked = true;
                continue;
            }
            if (conn->watchers != 0)
                epoll_touch(conn);
            errno = EAGAIN;
            return total != 0 ? (ssize_t)total : -1;
        }
        if (until == 0)
            until = deadline(conn->send_timeout_ns);
        if (conn_wait(conn, fd, POLLOUT, until) != 0)
            return total != 0 ? (ssize_t)total : -1;
    }
}

/* Does `call` on the connection that fd is, or returns PLAIN. */
#define ON_CONNECTION(result, call) \
    ssize_t result = PLAIN; \
    struct conn *conn; \
    READY(); \
    if (UNLIKELY((conn = conn_hold(fd)) != NULL)) { \
        result = call; \
        conn_release(conn); \
    }

EXPORT ssize_t readv(int fd, const struct iovec *iov, int count) {
    ON_CONNECTION(result, receive(conn, fd, iov, count, 0))
    return result != PLAIN ? result : real_readv(fd, iov, count);
}

EXPORT ssize_t writev(int fd, const struct iovec *iov, int count) {
    ON_CONNECTION(result, transmit(conn, fd, iov, count, 0))
    return result != PLAIN ? result : real_writev(fd, iov, count);
}

EXPORT ssize_t read(int fd, void *data, size_t bytes) {
    struct iovec iov = {data, bytes};
    ON_CONNECTION(result, receive(conn, fd, &iov, 1, 0))
    return result != PLAIN ? result : real_read(fd, data, bytes);
}

EXPORT ssize_t write(int fd, const void *data, size_t bytes) {
    struct iovec iov = {(void *)data, bytes};
    ON_CONNECTION(result, transmit(conn, fd, &iov, 1, 0))
    return result != PLAIN ? result : real_write(fd, data, bytes);
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

EXPORT ssize_t recvfrom(int fd, void *data, size_t bytes, int flags, struct sockaddr *from, socklen_t *length) {
    struct iovec iov = {data, bytes};
    ON_CONNECTION(result, receive(conn, fd, &iov, 1, flags))
    if (result == PLAIN)
        return real_recvfrom(fd, data, bytes, flags, from, length);
    if (result >= 0 && from != NULL && length != NULL)
        *length = 0;   /* as TCP: the address is not filled in */
    return result;
}

EXPORT ssize_t sendto(int fd, const void *data, size_t bytes, int flags, const struct sockaddr *to, socklen_t length) {
    struct iovec iov = {(void *)data, bytes};
    ON_CONNECTION(result, transmit(conn, fd, &iov, 1, flags))
    return result != PLAIN ? result : real_sendto(fd, data, bytes, flags, to, length);
}

EXPORT ssize_t recvmsg(int fd, struct msghdr *message, int flags) {
    ON_CONNECTION(result, receive(conn, fd, message->msg_iov, (int)message->msg_iovlen, flags))
    if (result == PLAIN)
        return real_recvmsg(fd, message, flags);
    if (result >= 0) {
        message->msg_namelen = 0;
        message->msg_controllen = 0;
        message->msg_flags = flags & MSG_TRUNC ? MSG_TRUNC : 0;
    }
    return result;
}

EXPORT ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    ON_CONNECTION(result, transmit(conn, fd, message->msg_iov, (int)message->msg_iovlen, flags))
    if (result != PLAIN)
        return result;
    return message != NULL && message->msg_controllen != 0 ? passing_sendmsg(fd, message, flags)
                                                           : real_sendmsg(fd, message, flags);
}

EXPORT int recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags, struct timespec *timeout) {
    READY();
    if (LIKELY(conn_of(fd) == NULL))
        return real_recvmmsg(fd, messages, count, flags, timeout);
    unsigned done = 0;
    while (done < count) {
        int wait = done == 0 ? flags & ~MSG_WAITFORONE : flags | (flags & MSG_WAITFORONE ? MSG_DONTWAIT : 0);
        ssize_t n = recvmsg(fd, &messages[done].msg_hdr, wait & ~MSG_WAITFORONE);
        if (n < 0)
            return done != 0 ? (int)done : -1;
        messages[done++].msg_len = (unsigned)n;
        if (n == 0)
            break;
    }
    return (int)done;
}

EXPORT int sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags) {
    READY();
    if (LIKELY(conn_of(fd) == NULL))
        return passing_sendmmsg(fd, messages, count, flags);
    unsigned done = 0;
    while (done < count) {
        ssize_t n = sendmsg(fd, &messages[done].msg_hdr, flags);
        if (n < 0)
            return done != 0 ? (int)done : -1;
        const struct msghdr *sent = &messages[done].msg_hdr;
        messages[done++].msg_len = (unsigned)n;
        if ((size_t)n < length_of(sent->msg_iov, (int)sent->msg_iovlen))
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
