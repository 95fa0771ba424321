/* connect: an offer to the far end, and the real TCP handshake. */
#include "internal.h"
#include "parts.h"

#include <netinet/in.h>
#include <string.h>
#include <unistd.h>

static bool is_tcp(int fd, int *family) {
    int type = 0, protocol = 0;
    socklen_t length = sizeof(int);
    if (real_getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) != 0 || type != SOCK_STREAM)
        return false;
    length = sizeof(int);
    if (real_getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &length) != 0 || protocol != IPPROTO_TCP)
        return false;
    length = sizeof(int);
    return real_getsockopt(fd, SOL_SOCKET, SO_DOMAIN, family, &length) == 0;
}

/* The address that the kernel would use towards target. */
static bool route_to(const struct sockaddr *target, socklen_t length, struct vn_address *source) {
    struct sockaddr_storage name;
    socklen_t room = sizeof(name);
    int probe = socket(target->sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (probe < 0)
        return false;
    bool found = real_connect(probe, target, length) == 0 && real_getsockname(probe, (struct sockaddr *)&name, &room) == 0 &&
                 address_from(source, (struct sockaddr *)&name, room);
    real_close(probe);
    return found;
}

/* Both ends must know the client's port before the handshake: so the socket is bound to a free one now. */
static bool fix_source(int fd, int family, const struct sockaddr *target, socklen_t length, struct vn_address *source) {
    struct sockaddr_storage name;
    socklen_t room = sizeof(name);
    static const uint8_t any[16];
    if (real_getsockname(fd, (struct sockaddr *)&name, &room) != 0 || !address_from(source, (struct sockaddr *)&name, room))
        return false;
    if (source->port == 0) {
        struct vn_address free_port = *source;
        room = address_to(&free_port, family, (struct sockaddr *)&name, sizeof(name));
        if (bind(fd, (struct sockaddr *)&name, room) != 0)
            return false;
        room = sizeof(name);
        if (real_getsockname(fd, (struct sockaddr *)&name, &room) != 0)
            return false;
        address_from(source, (struct sockaddr *)&name, room);
    }
    if (memcmp(source->ip, any, sizeof(any)) == 0) {
        uint16_t port = source->port;
        struct vn_address to;
        address_from(&to, target, length);
        if (!door_source(&to, source) && !route_to(target, length, source))
            return false;
        source->port = port;
    }
    return true;
}

struct offer {
    struct vn_address source, target;
    struct pair pair;
    int bell, far, memfd;
};

/* A bell and a half, for an offer to the broker or (knock not NULL) at a door: there it may be one that was used before. */
static enum vn_why prepare(struct offer *offer, struct vn_knock *knock) {
    int bells[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, bells) != 0)
        return VN_WHY_no_descriptors;
    offer->bell = bells[0];
    offer->far = bells[1];
    offer->memfd = -1;
    offer->pair = (struct pair){.memfd = -1};
    if (knock != NULL && pool_take(&offer->pair, knock, 0)) {
        half_begin(offer->pair.own, &offer->source, &offer->target, false);
        knock->use = ++offer->pair.own->use;
        return VN_WHY_direct;
    }
    offer->memfd = half_make(&offer->pair.own, &offer->source, &offer->target, false);
    if (offer->memfd < 0) {
        close_all(bells, 2);
        return VN_WHY_no_memory;
    }
    if (knock != NULL) {
        pool_keep_memfd(&offer->pair, offer->memfd);
        offer->pair.ticket = knock->ticket;
        offer->pair.target = knock->target;
        knock->use = 1;
    }
    return VN_WHY_direct;
}

static void sent(struct offer *offer) {
    real_close(offer->far);
    if (offer->memfd >= 0)
        real_close(offer->memfd);
}

static void drop(struct offer *offer) {
    if (offer->pair.own != NULL)   /* the broker may have it all the same, if its answer was only late */
        atomic_fetch_or(&offer->pair.own->state, VN_WITHDRAWN);
    half_unmap(offer->pair.own);
    half_unmap(offer->pair.peer);
    pool_close(&offer->pair);
    if (offer->bell >= 0)
        real_close(offer->bell);
}

uint64_t timeout_of(int fd, int option) {
    struct timeval time = {0, 0};
    socklen_t length = sizeof(time);
    real_getsockopt(fd, SOL_SOCKET, option, &time, &length);
    return timeval_ns(&time);
}

/* fd becomes the bell of a new connection object; the TCP socket is kept beside. */
static bool convert(int fd, int family, struct offer *offer, enum vn_phase phase, bool verified) {
    int kept = spare_hold() ? hide_copy(fd) : -1;   /* the answer takes one, for a moment */
    struct conn *conn = kept >= 0 ? conn_new(offer->pair.own, kept) : NULL;
    if (conn == NULL) {
        if (kept >= 0)
            hidden_close(kept);
        return false;
    }
    conn->family = family;
    conn->pair = offer->pair;
    conn->verified = verified;
    conn->source = offer->source;
    conn->target = offer->target;
    conn->phase = phase;
    conn->offered_at = now_ns();
    conn->receive_timeout_ns = timeout_of(fd, SO_RCVTIMEO);
    conn->send_timeout_ns = timeout_of(fd, SO_SNDTIMEO);
    conn_buffers(conn, kept);
    conn->nonblocking = (real_fcntl(fd, F_GETFL) & O_NONBLOCK) != 0;
    epoll_leave(fd);
    if (swap_descriptor(fd, offer->bell) != 0) {
        epoll_rejoin(fd);
        atomic_fetch_or(&offer->pair.own->state, VN_WITHDRAWN);
        conn_release(conn);   /* with it the halves and the kept descriptor; the bell is closed already */
        offer->pair = (struct pair){.memfd = -1};
        offer->bell = -1;
        return false;
    }
    entry_set(fd, &conn->entry);
    epoll_rejoin(fd);
    return true;
}

/* A second connect on a descriptor that has become a connection. */
static int connect_again(struct conn *conn, int fd, const struct sockaddr *name, socklen_t length) {
    bool was_connecting = conn->phase == VN_CONNECTING;
    if (was_connecting)
        bell_take(conn, fd);
    switch (conn->phase) {
    case VN_CONNECTING:
        if (conn->nonblocking) {
            errno = EALREADY;
            return -1;
        }
        if (conn_wait(conn, fd, POLLOUT, 0) != 0)
            return -1;
        return connect_again(conn, fd, name, length);
    case VN_PLAIN:
        return real_connect(fd, name, length);
    case VN_BROKEN:
        if (conn->error != 0) {
            errno = atomic_exchange(&conn->error, 0);
            return -1;
        }
        conn_recall(conn, fd);
        return real_connect(fd, name, length);
    default:
        if (was_connecting)
            return 0;
        errno = EISCONN;
        return -1;
    }
}

/* False: there is no door, or it is full. */
static bool connect_by_door(int fd, int family, struct offer *offer, enum vn_why *why) {
    struct vn_knock knock = {offer->source, offer->target, 0, 0};
    if (!door_find(&knock))
        return false;
    if ((*why = prepare(offer, &knock)) != VN_WHY_direct)
        return true;
    bool knocked = door_knock(&knock, offer->far, offer->memfd >= 0 ? offer->memfd : offer->pair.memfd);
    sent(offer);
    if (knocked && convert(fd, family, offer, VN_OFFERED, false))
        return true;
    drop(offer);
    *why = VN_WHY_no_descriptors;
    return knocked;
}

static enum vn_why connect_direct(int fd, const struct sockaddr *name, socklen_t length, int family, struct offer *offer,
                                  int *result) {
    enum vn_why why;
    if (!fix_source(fd, family, name, length, &offer->source))
        return VN_WHY_unsupported;
    if (connect_by_door(fd, family, offer, &why)) {
        *result = why == VN_WHY_direct ? 0 : *result;
        return why;
    }
    if ((why = prepare(offer, NULL)) != VN_WHY_direct)
        return why;
    why = broker_offer(&offer->source, &offer->target, offer->far, offer->memfd, fd);
    sent(offer);
    if (why != VN_WHY_direct) {
        drop(offer);
        return why;
    }
    *result = real_connect(fd, name, length);
    int error = errno;
    bool going_on = *result != 0 && (error == EINPROGRESS || error == EINTR);
    if ((*result == 0 || going_on) && convert(fd, family, offer, going_on ? VN_CONNECTING : VN_OFFERED, true)) {
        errno = error;
        return VN_WHY_direct;
    }
    broker_forget(&offer->source, &offer->target);
    drop(offer);
    errno = error;
    return *result == 0 || going_on ? VN_WHY_no_descriptors : VN_WHY_refused_by_peer;
}

EXPORT int connect(int fd, const struct sockaddr *name, socklen_t length) {
    struct offer offer;
    int family, result = 1, saved = errno;
    READY();
    struct conn *conn = conn_hold(fd);
    if (conn != NULL) {
        result = connect_again(conn, fd, name, length);
        conn_release(conn);
        return result;
    }
    if (vn_settings.off || name == NULL || length < sizeof(sa_family_t) || !address_from(&offer.target, name, length))
        return real_connect(fd, name, length);
    enum vn_why why = broker_find(&offer.target);
    if (why == VN_WHY_direct && fd > STDERR_FILENO && is_tcp(fd, &family))   /* see dup_onto */
        why = connect_direct(fd, name, length, family, &offer, &result);
    else if (why == VN_WHY_direct)
        why = VN_WHY_unsupported;
    int error = errno;
    tell(why, &offer.target, fd);
    errno = saved;
    if (result == 1) {   /* no handshake was made yet */
        result = real_connect(fd, name, length);
        if (result == 0 && why == VN_WHY_no_provider && !door_is_none(&offer.target))
            door_learn_none(&offer.target);
        return result;
    }
    errno = result != 0 ? error : saved;
    return result;
}
