/* Names, options and shutdown. The TCP socket under the program's descriptor has them; the ring gets what it must know. */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>

#include "base/process.h"
#include "base/real.h"
#include "base/signals.h"
#include "base/sockaddr.h"
#include "fdtable/kick.h"
#include "fdtable/marks.h"
#include "handshake/progress.h"
#include "hooks/numbers.h"
#include "relay/options.h"
#include "relay/relay.h"
#include "stream/doorbell.h"
#include "stream/ring.h"
#include "watch/watch.h"

#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK 72
#endif
#ifndef SO_ZEROCOPY
#define SO_ZEROCOPY 60
#endif
#ifndef TCP_INQ
#define TCP_INQ 36
#endif
#ifndef TCP_ULP
#define TCP_ULP 31
#endif

/* ---------------------------------------------------------------------------------------------------- names */

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
    socklen_t room = is_bad(length) ? 0 : *length;
    int result = real_getsockname(fd, name, length);
    return LIKELY(conn_of(fd) != NULL) ? result : name_of_relay(fd, true, result, name, length, room);
}

EXPORT int getpeername(int fd, struct sockaddr *name, socklen_t *length) {
    READY();
    HANDLERS_WAIT();
    struct conn *conn = conn_hold_checked(fd);
    socklen_t room = is_bad(length) ? 0 : *length;
    if (conn == NULL)
        return name_of_relay(fd, false, real_getpeername(fd, name, length), name, length, room);
    if (conn_phase(conn) < CONN_DIRECT)
        progress_serve(conn, fd);
    conn_has_ended(conn, fd);
    int result = real_getpeername(fd, name, length);
    if (conn_phase(conn) != CONN_PLAIN && conn_phase(conn) != CONN_CONNECTING && !stream_is_connected(conn)) {
        errno = ENOTCONN;
        result = -1;
    }
    conn_release(conn);
    return result;
}

/* -------------------------------------------------------------------------------------------------- options */

/* What is not carried by the ring is refused, as by a kernel that does not have it: programs probe for these. */
static int refusal(int level, int option) {
    if (level == SOL_SOCKET)
        switch (option) {
        case SO_ZEROCOPY:
        case SO_PEEK_OFF: return EOPNOTSUPP;
        case SO_TIMESTAMP:
        case SO_TIMESTAMPNS:
        case SO_TIMESTAMPING: return ENOPROTOOPT;
        default: return 0;
        }
    if (level == IPPROTO_TCP && (option == TCP_INQ || option == TCP_ULP))
        return ENOPROTOOPT;
    return 0;
}

/* Whether the option is switched on, or can't be read: then the kernel says what is wrong with it. */
static bool is_on(int level, int option, const void *value, socklen_t length) {
    int number = 0;
    /* a name: whatever its length, the kernel would take the bytes over */
    if (level == IPPROTO_TCP && option == TCP_ULP)
        return true;
    if (is_bad(value) || length < sizeof(number))
        return false;
    memcpy(&number, value, sizeof(number));
    return option == SO_PEEK_OFF ? number >= 0 : number != 0;
}

/* A time-out that has ended: nobody waits. The kernel does not tell it from none. */
static bool is_over_at_once(int level, int option, const void *value, socklen_t length) {
    struct timeval time;
    if (level != SOL_SOCKET || (option != SO_RCVTIMEO && option != SO_SNDTIMEO) || is_bad(value) ||
        length < sizeof(time))
        return false;
    memcpy(&time, value, sizeof(time));
    return time.tv_sec < 0;
}

/* Before a socket connects or listens: what can't be carried keeps it, and what it accepts, with TCP. */
static void note_for_later(int fd, int level, int option, const void *value, socklen_t length) {
    if ((refusal(level, option) != 0 && is_on(level, option, value, length)) ||
        is_over_at_once(level, option, value, length))
        mark_set(fd, MARK_PLAIN);
}

static void set_timeout(struct conn *conn, int option, bool over_at_once) {
    uint64_t time = over_at_once ? CONN_AT_ONCE_NS : 0;
    if (option == SO_RCVTIMEO)
        conn->own->receive_timeout_ns = time;
    else if (option == SO_SNDTIMEO)
        conn->own->send_timeout_ns = time;
}

static int set_direct(struct conn *conn, int fd, int level, int option, const void *value, socklen_t length) {
    int refused = refusal(level, option);
    if (refused != 0 && is_on(level, option, value, length)) {
        errno = refused;
        return -1;
    }
    int result = real_setsockopt(fd, level, option, value, length);
    if (result == 0 && level == SOL_SOCKET) {
        uint64_t bound = stream_bound(conn->own, conn->peer);
        set_timeout(conn, option, is_over_at_once(level, option, value, length));
        conn_read_options(conn, fd);
        /* who waits for room may have it */
        if (stream_bound(conn->own, conn->peer) > bound || option == SO_RCVLOWAT) {
            kick_all();
            /* as TCP, whatever it was before */
            bool anew = option == SO_RCVLOWAT && stream_wakes_reader(conn);
            if (conn->watchers != 0) /* the kernel wakes those who wait for data, and no others */
                watch_touch_anew(conn, anew ? EPOLLIN | EPOLLPRI | EPOLLRDNORM | EPOLLRDBAND : 0);
        }
    }
    return result;
}

EXPORT int setsockopt(int fd, int level, int option, const void *value, socklen_t length) {
    READY();
    HANDLERS_WAIT();
    struct conn *conn = conn_hold_checked(fd);
    int result;
    if (conn == NULL) {
        if (UNLIKELY(relay_setsockopt(fd, level, option, value, length, &result)))
            return result;
        result = real_setsockopt(fd, level, option, value, length);
        if (result == 0)
            note_for_later(fd, level, option, value, length);
        return result;
    }
    if (conn_phase(conn) < CONN_DIRECT && refusal(level, option) != 0)
        progress_fall_back(conn, fd);
    result = conn_phase(conn) == CONN_PLAIN ? real_setsockopt(fd, level, option, value, length)
                                            : set_direct(conn, fd, level, option, value, length);
    conn_release(conn);
    return result;
}

static int get_number(int number, void *value, socklen_t *length) {
    if (is_bad(length) || is_bad(value)) {
        errno = EFAULT;
        return -1;
    }
    memcpy(value, &number, *length < sizeof(number) ? *length : sizeof(number));
    if (*length > sizeof(number))
        *length = sizeof(number);
    return 0;
}

static int pending_error(struct conn *conn, int fd) {
    conn_has_ended(conn, fd);
    stream_absorb(conn);
    return conn_take_error(conn);
}

static int get_tcp_info(struct conn *conn, int fd, void *value, socklen_t *length) {
    int result = real_getsockopt(fd, IPPROTO_TCP, TCP_INFO, value, length);
    if (result == 0 && *length >= 1) {
        conn_has_ended(conn, fd);
        uint8_t *state = value; /* the first field */
        *state = (uint8_t)stream_tcp_state(conn, *state);
    }
    return result;
}

/* Once an option has changed the route, TCP learns it anew with the next packet; here there is none. */
static int get_mtu(struct conn *conn, int fd, int level, int option, void *value, socklen_t *length) {
    struct sockaddr_storage name;
    socklen_t room = sizeof(name);
    int result = real_getsockopt(fd, level, option, value, length);
    if (result == 0 || errno != ENOTCONN || !stream_is_connected(conn))
        return result;
    int probe = real_socket(conn->family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (probe < 0)
        return -1;
    if (real_getpeername(fd, (struct sockaddr *)&name, &room) == 0 &&
        quiet_connect(probe, (struct sockaddr *)&name, room) == 0)
        result = real_getsockopt(probe, level, option, value, length);
    int saved = errno;
    quiet_close(probe);
    errno = saved;
    return result;
}

static bool is_mtu(int level, int option) {
    return (level == IPPROTO_IP && option == IP_MTU) || (level == IPPROTO_IPV6 && option == IPV6_MTU);
}

EXPORT int getsockopt(int fd, int level, int option, void *value, socklen_t *length) {
    READY();
    HANDLERS_WAIT();
    struct conn *conn = conn_hold_checked(fd);
    int result;
    if (conn == NULL)
        return relay_getsockopt(fd, level, option, value, length, &result)
                   ? result
                   : real_getsockopt(fd, level, option, value, length);
    bool asks_result = level == SOL_SOCKET && option == SO_ERROR; /* of a connect that it has waited for */
    if (conn_phase(conn) < CONN_DIRECT && !(asks_result && number_is_waited_unseen(conn, fd)))
        progress_serve(conn, fd);
    bool own = conn_phase(conn) >= CONN_DIRECT && conn_phase(conn) != CONN_PLAIN;
    if (own && level == SOL_SOCKET && option == SO_ERROR)
        result = get_number(pending_error(conn, fd), value, length);
    else if (own && level == IPPROTO_TCP && option == TCP_INFO)
        result = get_tcp_info(conn, fd, value, length);
    else if (own && is_mtu(level, option))
        result = get_mtu(conn, fd, level, option, value, length);
    else if (own && level == IPPROTO_TCP && option == TCP_ZEROCOPY_RECEIVE)
        result = -1; /* the kernel would say that there is nothing */
    else
        result = real_getsockopt(fd, level, option, value, length);
    conn_release(conn);
    if (result < 0 && level == IPPROTO_TCP && option == TCP_ZEROCOPY_RECEIVE)
        errno = ENOPROTOOPT;
    return result;
}

/* ------------------------------------------------------------------------------------------------- shutdown */

static int shut(struct conn *conn, int fd, int how) {
    conn_has_ended(conn, fd);
    if (!stream_is_connected(conn)) {
        errno = ENOTCONN;
        return -1;
    }
    if (how != SHUT_RD) {
        atomic_fetch_or(&conn->own->state, VN_FIN);
        doorbell_ring_if_wanted(conn, VN_ARMED_DATA);
    }
    if (how != SHUT_WR)
        atomic_store(&conn->own->shut_read, 1);
    if ((conn->own->state & VN_FIN) && conn->own->shut_read)
        atomic_fetch_or(&conn->own->state, VN_SHUT);
    kick_all();            /* those of this end who sleep */
    if (conn->own->forked) /* and in other processes: the kernel wakes who watches the TCP socket */
        real_shutdown(fd, SHUT_RD);
    return 0;
}

EXPORT int shutdown(int fd, int how) {
    READY();
    if (how < SHUT_RD || how > SHUT_RDWR) /* changes nothing */
        return real_shutdown(fd, how);
    HANDLERS_WAIT();
    struct conn *conn = conn_hold_checked(fd);
    if (conn == NULL)
        return real_shutdown(fd, how);
    if (conn_phase(conn) < CONN_DIRECT)
        progress_serve(conn, fd);
    bool early = conn->unreported;
    conn->unreported = false;                /* as TCP: a connect says from now on that it is connected */
    if (conn_phase(conn) == CONN_CONNECTING) /* TCP gives the connect up */
        progress_fall_back(conn, fd);
    int result = conn_phase(conn) == CONN_PLAIN ? real_shutdown(fd, how) : shut(conn, fd, how);
    int saved = errno;
    if (early && conn_phase(conn) == CONN_BROKEN && result != 0 && saved == ENOTCONN)
        conn->disconnecting = true;
    if (conn->watchers != 0)
        watch_touch_anew(conn, ~0u); /* as TCP: whatever was shut, or was before */
    conn_release(conn);
    errno = saved;
    return result;
}
