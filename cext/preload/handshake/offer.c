/* The connecting end: see offer.h. */
#include "handshake/offer.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>

#include "base/message.h"
#include "base/real.h"
#include "base/signals.h"
#include "base/sockaddr.h"
#include "discovery/client.h"
#include "fdtable/hidden.h"
#include "handshake/progress.h"
#include "memory/region.h"
#include "stream/doorbell.h"
#include "watch/watch.h"

/* The address that the kernel would use towards target. */
static bool route_to(const struct sockaddr *target, socklen_t length, struct vn_address *source) {
    int probe = real_socket(target->sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0), family;
    if (probe < 0)
        return false;
    bool found = quiet_connect(probe, target, length) == 0 && address_of_socket(probe, source, &family);
    quiet_close(probe);
    return found;
}

/* Binds fd to a free port of the address that it has. With IP_BIND_ADDRESS_NO_PORT it would get one only when it
 * connects; then the option goes for a moment. */
static bool bind_to_port(int fd, int family, struct vn_address *source) {
    struct sockaddr_storage name;
    int late = 0, off = 0;
    socklen_t length = sizeof(late), room = address_to(source, family, (struct sockaddr *)&name, sizeof(name));
    bool is_late = real_getsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &late, &length) == 0 && late != 0;
    if (is_late)
        real_setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &off, sizeof(off));
    bool bound = bind(fd, (struct sockaddr *)&name, room) == 0;
    if (is_late)
        real_setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &late, sizeof(late));
    return bound && address_of_socket(fd, source, &family) && source->port != 0;
}

/* As Linux has it since 4.2; the C libraries' struct tcp_info differ in length. */
union tcp_status {
    struct tcp_info info;
    struct {
        char before[140];
        uint32_t segments_received;
    } counted;
};

/* One whose connection was reset is closed as well. The kernel refuses it a new one, but would bind it to another port. */
static bool is_unconnected(int fd) {
    union tcp_status status = {.counted = {.segments_received = 0}};
    socklen_t length = sizeof(status);
    return real_getsockopt(fd, IPPROTO_TCP, TCP_INFO, &status, &length) == 0 && status.info.tcpi_state == TCP_CLOSE &&
           status.counted.segments_received == 0;
}

/* Both ends must know the client's port before the handshake: so the socket is bound to a free one now. The kernel refuses
 * that where it is bound already; what it names may be left from before a connect to AF_UNSPEC. */
static bool fix_source(int fd, int family, const struct sockaddr *target, socklen_t length, struct vn_address *source) {
    int own_family;
    if (!is_unconnected(fd) || !address_of_socket(fd, source, &own_family))
        return false;
    uint16_t named = source->port;
    source->port = 0;
    if (!bind_to_port(fd, family, source)) {
        if (named == 0)
            return false;
        source->port = named;
    }
    if (address_is_any(source)) {
        uint16_t port = source->port;
        if (!route_to(target, length, source))
            return false;
        source->port = port;
    }
    return true;
}

struct offer {
    struct vn_region *own;
    int doorbell, far, memfd; /* doorbell: hidden */
};

static enum vn_reason prepare(struct offer *offer, const struct vn_address *source, const struct vn_address *target) {
    int ends[2];
    /* the answer takes a descriptor */
    if (!spare_hold() || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        return VN_REASON_no_descriptors;
    offer->doorbell = hide(ends[0]);
    offer->far = ends[1];
    if (offer->doorbell < 0) {
        quiet_close(ends[1]);
        return VN_REASON_no_descriptors;
    }
    offer->memfd = region_make(&offer->own, source, target, false);
    if (offer->memfd >= 0)
        return VN_REASON_direct;
    hidden_close(offer->doorbell);
    quiet_close(offer->far);
    return VN_REASON_no_memory;
}

static void sent(const struct offer *offer) {
    quiet_close(offer->far);
    quiet_close(offer->memfd);
}

/* fd means the connection from now on. */
static void enter(int fd, struct conn *conn) {
    watch_leave(fd);
    entry_set(fd, &conn->entry);
    watch_rejoin(fd);
    if (real_fcntl(fd, F_GETFL) & O_ASYNC)
        doorbell_want_signals(conn, fd, true);
}

/* The broker may have the offer all the same, if its answer was only late. */
static void leave_to_tcp(struct conn *conn) {
    atomic_fetch_or(&conn->own->state, VN_FELL_BACK);
    conn_release(conn);
}

int offer_connect_tcp(struct conn **conn, int fd, const struct sockaddr *name, socklen_t length) {
    struct opening opening;
    uint32_t serial = (*conn)->serial;
    conn_release(*conn);
    handlers_open(&opening);
    int result = real_connect(fd, name, length), error = errno;
    handlers_close(&opening);
    *conn = conn_hold(fd);
    if (*conn != NULL && (*conn)->serial != serial) {
        conn_release(*conn);
        *conn = NULL;
    }
    errno = error;
    return result;
}

enum vn_reason offer_connect(int fd, const struct sockaddr *name, socklen_t length, int family,
                             const struct vn_address *target, int *result) {
    struct vn_address source;
    struct offer offer;
    enum vn_reason reason;
    *result = OFFER_NOT_CONNECTED;
    /* the kernel refuses the first */
    if (name->sa_family != family || !fix_source(fd, family, name, length, &source))
        return VN_REASON_unsupported;
    if ((reason = prepare(&offer, &source, target)) != VN_REASON_direct)
        return reason;
    struct conn *conn = conn_new(offer.own, offer.doorbell, CONN_CONNECTING);
    if (conn == NULL) {
        hidden_close(offer.doorbell);
        region_unmap(offer.own);
        sent(&offer);
        return VN_REASON_no_memory;
    }
    conn->family = family;
    conn->source = source;
    conn->target = *target;
    conn->inode = inode_of(fd);
    reason = broker_offer(&source, target, offer.far, offer.memfd, fd);
    sent(&offer);
    if (reason != VN_REASON_direct) {
        leave_to_tcp(conn);
        return reason;
    }
    conn_read_options(conn, fd);
    enter(fd, conn); /* before it connects: a handler may jump out of that, and the thread may be cancelled */
    *result = offer_connect_tcp(&conn, fd, name, length);
    int error = errno;
    if (conn == NULL)
        return reason; /* another thread has closed it meanwhile */
    if (*result == 0) {
        conn->offered_at = now_ns();
        conn_set_phase(conn, CONN_CONNECTING, CONN_OFFERED);
    } else if (error == EINPROGRESS || error == EINTR) {
        conn->unreported = true;
    } else {
        broker_forget(&source, target);
        progress_fall_back(conn, fd);
        reason = VN_REASON_refused_by_peer;
    }
    conn_release(conn);
    errno = error;
    return reason;
}
