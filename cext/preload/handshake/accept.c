/* accept: by the door, or by TCP's handshake. */
#include "listener.h"

#include <string.h>
#include <unistd.h>

/* One that knocked, as a new descriptor; -1 and errno, EMFILE if it is for that. */
static int accept_by_door(struct listener *listener, int fd, int flags, struct vn_address *remote) {
    struct vn_knock knock;
    int fds[1];
    struct conn *conn = answer_knock(listener, fd, fds, &knock);
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
        if (result >= 0)
            listener_tell(listener);   /* it may have come by TCP because nobody knows of us */
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
