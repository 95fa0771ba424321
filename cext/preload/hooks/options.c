/* Names and options: those of the TCP socket that is kept beside. */
#include "internal.h"
#include "epoll.h"
#include "relay/relay.h"

#include <netinet/in.h>
#include <string.h>
#include <unistd.h>

#ifndef SOCK_SNDBUF_LOCK   /* of SO_BUF_LOCK: what the program has set; <linux/socket.h> can't be had beside the C library's */
#define SOCK_SNDBUF_LOCK 1
#define SOCK_RCVBUF_LOCK 2
#endif
#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK 72
#endif

int conn_option(struct conn *conn) {
    if (conn->kept < 0) {   /* came by a door: there was no handshake; options are kept all the same */
        int fd = socket(conn->family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        int send = (int)conn->own->send_buffer / 2, receive = (int)conn->own->receive_buffer / 2;   /* it doubles them */
        if (send != 0)
            real_setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &send, sizeof(send));
        if (receive != 0)
            real_setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive, sizeof(receive));
        if (fd >= 0)
            conn->kept = hide(fd);
    }
    return conn->kept;
}

static uint32_t number_of(int fd, int option) {
    int number = 0;
    socklen_t length = sizeof(number);
    return real_getsockopt(fd, SOL_SOCKET, option, &number, &length) == 0 ? (uint32_t)number : 0;
}

void conn_buffers(struct conn *conn, int socket) {
    uint32_t set = number_of(socket, SO_BUF_LOCK);   /* a kernel before 5.16 doesn't tell: then nothing is bounded */
    conn->own->send_buffer = set & SOCK_SNDBUF_LOCK ? number_of(socket, SO_SNDBUF) : 0;
    conn->own->receive_buffer = set & SOCK_RCVBUF_LOCK ? number_of(socket, SO_RCVBUF) : 0;
}

static bool is_of_buffers(int option) {
    return option == SO_SNDBUF || option == SO_RCVBUF || option == SO_SNDBUFFORCE || option == SO_RCVBUFFORCE ||
           option == SO_BUF_LOCK;
}

static int name_of(struct conn *conn, const struct vn_address *address, struct sockaddr *name, socklen_t *length) {
    if (name == NULL || length == NULL) {
        errno = EFAULT;
        return -1;
    }
    *length = address_to(address, conn->family, name, *length);
    return 0;
}

/* A Unix socket that stands for a connection of another process or program: see relay.c. */
static int name_of_relay(int fd, bool local, int result, struct sockaddr *name, socklen_t *length, socklen_t room) {
    struct vn_address addresses[2];
    if (result != 0 || name == NULL || name->sa_family != AF_UNIX || !relay_names(fd, &addresses[0], &addresses[1]))
        return result;
    const struct vn_address *address = &addresses[local ? 0 : 1];
    *length = address_to(address, address->family, name, room);
    return 0;
}

EXPORT int getsockname(int fd, struct sockaddr *name, socklen_t *length) {
    READY();
    struct conn *conn = conn_hold(fd);
    socklen_t room = length != NULL ? *length : 0;
    if (conn == NULL)
        return name_of_relay(fd, true, real_getsockname(fd, name, length), name, length, room);
    int result;
    if (conn->phase == VN_PLAIN)
        result = real_getsockname(fd, name, length);
    else if (conn->kept >= 0 && conn->verified)
        result = real_getsockname(conn->kept, name, length);
    else
        result = name_of(conn, &conn->own->local, name, length);
    conn_release(conn);
    return result;
}

/* As TCP has it: not while it connects, nor after a reset or when both directions have ended. */
static bool is_connected(const struct conn *conn) {
    uint32_t theirs = conn->peer != NULL ? conn->peer->state : 0;
    if (conn->phase == VN_CONNECTING || conn->phase == VN_BROKEN || (theirs & VN_RESET))
        return false;
    return !(conn->own->state & VN_FIN) || !((theirs & VN_FIN) || conn->bell_ended);
}

EXPORT int getpeername(int fd, struct sockaddr *name, socklen_t *length) {
    READY();
    struct conn *conn = conn_hold(fd);
    socklen_t room = length != NULL ? *length : 0;
    if (conn == NULL)
        return name_of_relay(fd, false, real_getpeername(fd, name, length), name, length, room);
    int result;
    if (conn->phase < VN_DIRECT)
        bell_glance(conn, fd);
    if (conn->phase == VN_PLAIN)
        result = real_getpeername(fd, name, length);
    else if (!is_connected(conn)) {
        errno = ENOTCONN;
        result = -1;
    } else
        result = name_of(conn, &conn->own->remote, name, length);
    conn_release(conn);
    return result;
}

static int get_number(int number, void *value, socklen_t *length) {
    if (value == NULL || length == NULL) {
        errno = EFAULT;
        return -1;
    }
    memcpy(value, &number, *length < sizeof(number) ? *length : sizeof(number));
    if (*length > sizeof(number))
        *length = sizeof(number);
    return 0;
}

static int get_error(struct conn *conn, int fd) {
    bell_glance(conn, fd);
    if (conn->phase == VN_DIRECT && conn->peer != NULL && (conn->peer->state & VN_RESET)) {
        conn->phase = VN_BROKEN;
        return ECONNRESET;
    }
    return atomic_exchange(&conn->error, 0);
}

EXPORT int getsockopt(int fd, int level, int option, void *value, socklen_t *length) {
    READY();
    struct conn *conn = conn_hold(fd);
    if (conn == NULL)
        return real_getsockopt(fd, level, option, value, length);
    int result;
    if (conn->phase == VN_PLAIN)
        result = real_getsockopt(fd, level, option, value, length);
    else if (level == SOL_SOCKET && option == SO_ERROR)
        result = get_number(get_error(conn, fd), value, length);
    else
        result = real_getsockopt(conn_option(conn), level, option, value, length);
    conn_release(conn);
    return result;
}

static uint64_t nanoseconds(const void *value) {
    struct timeval time;
    memcpy(&time, value, sizeof(time));
    return timeval_ns(&time);
}

EXPORT int setsockopt(int fd, int level, int option, const void *value, socklen_t length) {
    READY();
    struct conn *conn = conn_hold(fd);
    if (conn == NULL)
        return real_setsockopt(fd, level, option, value, length);
    int result;
    if (conn->phase == VN_PLAIN)
        result = real_setsockopt(fd, level, option, value, length);
    else
        result = real_setsockopt(conn_option(conn), level, option, value, length);
    if (result == 0 && level == SOL_SOCKET && is_of_buffers(option) && conn->phase != VN_PLAIN)
        conn_buffers(conn, conn->kept);
    if (result == 0 && level == SOL_SOCKET && length >= sizeof(struct timeval)) {
        if (option == SO_RCVTIMEO)
            conn->receive_timeout_ns = nanoseconds(value);
        else if (option == SO_SNDTIMEO)
            conn->send_timeout_ns = nanoseconds(value);
    }
    conn_release(conn);
    return result;
}

EXPORT int shutdown(int fd, int how) {
    READY();
    struct conn *conn = conn_hold(fd);
    if (conn == NULL)
        return real_shutdown(fd, how);
    int result = 0;
    if (conn->phase < VN_DIRECT)
        bell_glance(conn, fd);
    if (conn->phase == VN_PLAIN)
        result = real_shutdown(fd, how);
    else if (how < SHUT_RD || how > SHUT_RDWR) {
        errno = EINVAL;
        result = -1;
    } else if (!is_connected(conn)) {
        errno = ENOTCONN;
        result = -1;
    } else {
        if (how != SHUT_RD) {
            atomic_fetch_or(&conn->own->state, VN_FIN);
            bell_ring_if_wanted(conn, fd, VN_WANT_DATA);
        }
        if (how != SHUT_WR)
            conn->shut_read = true;
        if (how == SHUT_RDWR)   /* wakes those of this end who sleep; nothing has to wake them any more */
            real_shutdown(fd, SHUT_RD);
    }
    if (conn->watchers != 0)
        epoll_touch(conn);
    conn_release(conn);
    return result;
}
