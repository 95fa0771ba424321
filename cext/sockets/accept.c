/* listen and accept: the marker that tells the broker of a listener with the provider, and taking what clients offer. */
#include "internal.h"
#include "parts.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/un.h>
#include <unistd.h>

#define STRANGE_KNOCKS 256   /* that one accept looks at */

struct listener {
    struct entry entry;
    int marker;          /* bound to the listener's name; -1: another one is */
    int inside, outside; /* of its door; -1 without */
    int family;
    uint64_t secret[2];  /* of the tickets to its door */
    uint64_t poll_ns;    /* how long it is worth while to look for one who knocks before sleeping */
};

static void listener_destroy(struct entry *entry) {
    struct listener *listener = (struct listener *)entry;
    int saved = errno;
    if (listener->marker >= 0)
        hidden_close(listener->marker);
    if (listener->inside >= 0)
        hidden_close(listener->inside);
    if (listener->outside >= 0)
        hidden_close(listener->outside);
    free(listener);
    errno = saved;
}

int listener_door(struct entry *entry) {
    return ((struct listener *)entry)->inside;
}

bool listener_waiting(struct entry *entry) {
    (void)entry;   /* what waits at the door waits in the kernel */
    return false;
}

static int mark(const struct vn_address *address) {
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    char text[INET6_ADDRSTRLEN];
    inet_ntop(address->family, address->ip, text, sizeof(text));
    int length = snprintf(name.sun_path + 1, sizeof(name.sun_path) - 1, VN_LISTENER_NAME, address->port, text);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if (bind(fd, (struct sockaddr *)&name, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length)) != 0) {
        real_close(fd);   /* another process listens at the same address, by SO_REUSEPORT or after a fork */
        return -1;
    }
    return hide(fd);
}

void listener_adopt(int fd) {
    struct sockaddr_storage name;
    struct vn_address address;
    socklen_t room = sizeof(name), length = sizeof(int);
    int listens = 0, type = 0, saved = errno, door[2] = {-1, -1};
    if (vn_settings.off || entry_of(fd) != NULL || (unsigned)fd >= VN_MAX_FD)
        return;
    bool is_one = real_getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length) == 0 && listens;
    length = sizeof(int);
    is_one = is_one && real_getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0 && type == SOCK_STREAM;
    is_one = is_one && real_getsockname(fd, (struct sockaddr *)&name, &room) == 0 &&
             address_from(&address, (struct sockaddr *)&name, room);
    struct listener *listener = is_one ? calloc(1, sizeof(*listener)) : NULL;
    if (listener != NULL) {
        listener->entry = (struct entry){VN_LISTENER, 1, listener_destroy};
        listener->family = name.ss_family;
        broker_has_offers();   /* says hello now, so that the first accept need not */
        spare_hold();
        listener->marker = mark(&address);
        if (getrandom(listener->secret, sizeof(listener->secret), 0) == sizeof(listener->secret))
            door_open(door);
        listener->inside = door[0];
        listener->outside = door[1];
        entry_set(fd, &listener->entry);
        epoll_leave(fd);       /* it may be in a set already, without its door */
        epoll_rejoin(fd);
    }
    errno = saved;
}

EXPORT int listen(int fd, int backlog) {
    READY();
    int result = real_listen(fd, backlog);
    if (result == 0)
        listener_adopt(fd);
    return result;
}

/* The accepting end of a half that is known from an earlier connection, see pool.c; NULL when it is not. */
static struct conn *answer_again(uint64_t inode, const struct vn_knock *knock) {
    struct pair pair;
    if (inode == 0 || knock->use < 2 || !pool_take(&pair, knock, inode))
        return NULL;
    struct conn *conn = conn_new(pair.own, -1);
    if (conn == NULL) {
        half_unmap(pair.peer);
        half_unmap(pair.own);
        return NULL;
    }
    half_begin(pair.own, &knock->target, &knock->source, true);
    conn->peer = conn->pair.peer = pair.peer;
    conn->phase = VN_DIRECT;
    atomic_store(&pair.own->use, knock->use);
    if (!(atomic_load(&pair.peer->state) & VN_WITHDRAWN))
        return conn;
    conn_release(conn);   /* not kept: it has no inode yet */
    return NULL;
}

/* The accepting end of what was offered; NULL when it can't be: then the other end is told by the bell's end. memfd is
 * closed, and before another one is made: there may be no more descriptors. */
static struct conn *answer(int bell, int memfd, const struct vn_address *local, const struct vn_address *remote,
                           const struct listener *listener, bool verified) {
    struct vn_answer message = {VN_ANSWER_MAGIC, 0, 0};
    struct vn_half *own = NULL;
    const struct vn_half *peer = is_unix(bell) ? half_map(memfd) : NULL;
    real_close(memfd);
    int fds[2] = {peer != NULL ? half_make(&own, local, remote, true) : -1, listener->outside};
    struct conn *conn = fds[0] >= 0 ? conn_new(own, -1) : NULL;
    if (conn != NULL)
        own->use = peer->use;   /* from now on they are used together */
    message.doors = verified && listener->outside >= 0;
    if (message.doors)
        message.ticket = door_ticket(listener->secret, remote, local);
    bool sent = conn != NULL && message_send(bell, &message, sizeof(message), fds, message.doors ? 2 : 1, MSG_DONTWAIT);
    /* It can't be sent to who has withdrawn, or died, or written and closed already: then there is something to read. */
    bool gone = conn != NULL && !sent && (errno == EPIPE || errno == ECONNRESET);
    uint32_t state = peer != NULL ? peer->state : 0;
    bool has_something = gone && (peer->head != 0 || (state & VN_FIN));
    if (conn == NULL || (!sent && (!has_something || (state & VN_WITHDRAWN)))) {
        if (conn != NULL)
            conn_release(conn);
        else
            half_unmap(own);
        half_unmap(peer);
        conn = NULL;
    } else {
        conn->peer = conn->pair.peer = peer;
        conn->phase = VN_DIRECT;
        conn->bell_ended = !sent;
    }
    if (fds[0] >= 0)
        real_close(fds[0]);
    return conn;
}

static _Atomic int came_last = VN_MAX_FD;   /* the descriptor that was the lowest free one then */

/* Whether somebody knocks who could get a descriptor; without one he waits at the door as with TCP (EMFILE). */
static bool may_open(int inside) {
    char byte;
    int fds[2];
    if (is_far_from_limit(came_last))
        return true;
    if (real_recv(inside, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 || (fds[0] = real_fcntl(inside, F_DUPFD_CLOEXEC, 0)) < 0)
        return false;
    if ((fds[1] = real_fcntl(inside, F_DUPFD_CLOEXEC, 0)) >= 0)
        real_close(fds[1]);
    else   /* one is enough for a connection, but it comes with two */
        spare_lend();
    real_close(fds[0]);
    return true;
}

/* Who knocked: what a connection of his needs; NULL and errno when nobody is there, or EMFILE. */
static struct conn *open_door(struct listener *listener, int fd, int *bell, struct vn_knock *knock) {
    int fds[VN_MOST_FDS], count;
    for (int strange = 0; strange < STRANGE_KNOCKS; strange++) {
        struct conn *conn = NULL;
        if (!may_open(listener->inside))
            return NULL;
        ssize_t got = message_receive(listener->inside, knock, sizeof(*knock), fds, &count, MSG_DONTWAIT);
        if (got < 0) {   /* nobody is there, or another process that listens took it */
            spare_restore();
            return NULL;
        }
        uint64_t inode = 0;
        if (got == sizeof(*knock) && count == 2 &&
            knock->ticket == door_ticket(listener->secret, &knock->source, &knock->target)) {
            inode = half_inode(fds[1]);
            conn = is_unix(fds[0]) ? answer_again(inode, knock) : NULL;
            if (conn != NULL)
                real_close(fds[1]);
            else
                conn = answer(fds[0], fds[1], &knock->target, &knock->source, listener, false);
        } else
            close_all(fds + 1, count > 1 ? count - 1 : 0);
        spare_restore();
        if (conn != NULL) {
            conn->pair.inode = inode;
            conn->family = listener->family;
            *bell = came_last = fds[0];
            return conn;
        }
        close_all(fds, count > 0 ? 1 : 0);
        if (got == 0 && door_is_shut(listener->inside)) {
            epoll_leave(fd);
            door_renew(listener->inside, listener->outside);
            epoll_rejoin(fd);
            break;
        }
    }
    errno = EAGAIN;
    return NULL;
}

/* One that knocked, as a new descriptor; -1 and errno, EMFILE if it is for that. */
static int accept_by_door(struct listener *listener, int fd, int flags, struct vn_address *remote) {
    struct vn_knock knock;
    int fds[1];
    struct conn *conn = open_door(listener, fd, fds, &knock);
    if (conn == NULL)
        return -1;
    conn_buffers(conn, fd);   /* TCP's accepted socket has its listener's */
    conn->nonblocking = (flags & SOCK_NONBLOCK) != 0;
    if (flags & SOCK_NONBLOCK)
        real_fcntl(fds[0], F_SETFL, O_RDWR | O_NONBLOCK);
    if (!(flags & SOCK_CLOEXEC))
        real_fcntl(fds[0], F_SETFD, 0);
    *remote = knock.source;
    tell(VN_WHY_direct, remote, fds[0]);
    entry_set(fds[0], &conn->entry);
    return fds[0];
}

/* The TCP connection that was just accepted becomes a direct one, if its client has offered that. */
static void upgrade(int fd, const struct listener *listener, const struct sockaddr *name, socklen_t length) {
    struct sockaddr_storage own;
    struct vn_address local, remote;
    socklen_t room = sizeof(own);
    int bell, memfd;
    if (fd <= STDERR_FILENO || !broker_has_offers() || !address_from(&remote, name, length) ||
        real_getsockname(fd, (struct sockaddr *)&own, &room) != 0 || !address_from(&local, (struct sockaddr *)&own, room))
        return;
    if (!broker_take(&remote, &local, fd, &bell, &memfd)) {
        tell(VN_WHY_no_offer, &remote, fd);
        return;
    }
    int kept = hide_copy(fd);
    struct conn *conn = kept >= 0 ? answer(bell, memfd, &local, &remote, listener, true) : NULL;
    if (kept < 0)
        real_close(memfd);
    if (conn == NULL) {
        real_close(bell);
        if (kept >= 0)
            hidden_close(kept);
        tell(VN_WHY_no_memory, &remote, fd);
        return;
    }
    conn->family = listener->family;
    conn->kept = kept;
    conn_buffers(conn, kept);
    conn->nonblocking = (real_fcntl(fd, F_GETFL) & O_NONBLOCK) != 0;
    if (swap_descriptor(fd, bell) == 0)
        entry_set(fd, &conn->entry);
    else
        conn_release(conn);
    tell(VN_WHY_direct, &remote, fd);
}

/* Waits at the door and at the kernel's queue; *pending: somebody is in the latter. False and EINTR for a signal, EAGAIN
 * when SO_RCVTIMEO is over. */
static bool wait_for_somebody(struct listener *listener, int fd, bool *pending) {
    struct pollfd fds[2] = {{fd, POLLIN, 0}, {listener->inside, POLLIN, 0}};
    struct spin spin;
    int found = 0;
    spin_start(&spin, &listener->poll_ns);
    do
        found = real_poll(fds, 2, 0);
    while (found == 0 && spin_on(&spin));
    if (found == 0) {
        uint64_t before = now_ns(), timeout = timeout_of(fd, SO_RCVTIMEO);
        int milliseconds = timeout != 0 ? (int)((timeout + 999999) / 1000000) : -1;
        do
            found = real_poll(fds, 2, milliseconds);
        while (found < 0 && errno == EINTR && timeout == 0 && signals_restart());
        spin_slept(&spin, now_ns() - before);
        if (found == 0)
            errno = EAGAIN;
    }
    *pending = fds[0].revents != 0;   /* whatever is at the door, where anybody may make noise */
    return found > 0;
}

static int accept_any(int fd, struct sockaddr *name, socklen_t *length, int flags) {
    struct sockaddr_storage far;
    socklen_t room = sizeof(far);
    struct vn_address remote;
    READY();
    struct entry *entry = entry_hold(fd);
    if (entry == NULL) {
        listener_adopt(fd);
        entry = entry_hold(fd);
    }
    if (entry == NULL || entry->kind != VN_LISTENER) {
        if (entry != NULL)
            entry_release(entry);
        return real_accept4(fd, name, length, flags);
    }
    struct listener *listener = (struct listener *)entry;
    int result = -1, saved = errno;
    bool blocking = listener->inside >= 0 && !(real_fcntl(fd, F_GETFL) & O_NONBLOCK), pending = false;
    while (!pending) {
        if (listener->inside >= 0 && (result = accept_by_door(listener, fd, flags, &remote)) >= 0) {
            room = address_to(&remote, listener->family, (struct sockaddr *)&far, sizeof(far));
            break;
        }
        if (listener->inside >= 0 && errno == EMFILE)
            break;
        if (blocking && !wait_for_somebody(listener, fd, &pending))
            break;
        if (blocking && !pending)
            continue;
        room = sizeof(far);
        if ((result = real_accept4(fd, (struct sockaddr *)&far, &room, flags)) >= 0)
            upgrade(result, listener, (struct sockaddr *)&far, room);
        break;
    }
    entry_release(entry);
    if (result >= 0) {
        if (name != NULL && length != NULL) {
            memcpy(name, &far, *length < room ? *length : room);
            *length = room;
        }
        errno = saved;
    }
    return result;
}

EXPORT int accept(int fd, struct sockaddr *name, socklen_t *length) {
    return accept_any(fd, name, length, 0);
}

EXPORT int accept4(int fd, struct sockaddr *name, socklen_t *length, int flags) {
    return accept_any(fd, name, length, flags);
}
