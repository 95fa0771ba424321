/* Asks the broker's resolver, a thread that answers at once, about one target. */
#include "discovery/resolver.h"

#include <unistd.h>

#include "base/message.h"
#include "base/real.h"
#include "base/settings.h"
#include "base/sockaddr.h"
#include "discovery/table.h"

#define OVERFLOW_UID 65534u /* root outside, as seen from a container with users of its own */

static _Atomic uint64_t not_before; /* the resolver is left alone until then */

/* A broker is root's, or our own user's (in tests): others may have its name. */
static bool is_trusted(int fd) {
    struct ucred peer;
    socklen_t length = sizeof(peer);
    return real_getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 &&
           (peer.uid == 0 || peer.uid == geteuid() || peer.uid == OVERFLOW_UID);
}

int broker_call(const char *which, int flags) {
    struct sockaddr_un name;
    struct timeval timeout = {0, BROKER_TIMEOUT_US};
    socklen_t length = abstract_name(&name, settings.broker, which);
    int fd = length != 0 ? socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | flags, 0) : -1;
    if (fd < 0)
        return -1;
    if (!(flags & SOCK_NONBLOCK)) {
        real_setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
        real_setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    }
    if (quiet_connect(fd, (struct sockaddr *)&name, length) == 0 && is_trusted(fd))
        return fd;
    quiet_close(fd);
    return -1;
}

static bool wait_for_answer(int fd) {
    struct pollfd answer = {fd, POLLIN, 0};
    uint64_t now = now_ns(), deadline = now + BROKER_TIMEOUT_US * 1000ull;
    int ready = 0;
    while (now < deadline &&
           ((ready = quiet_poll(&answer, 1, (int)((deadline - now) / 1000000 + 1))) < 0 && errno == EINTR))
        now = now_ns();
    if (ready <= 0)
        not_before = now_ns() + BROKER_PAUSE_NS;
    return ready > 0;
}

bool resolver_ask(const struct vn_address *target, enum vn_reason *reason) {
    struct vn_request request = {.version = VN_SOCKETS_VERSION, .op = VN_ASK, .target = *target};
    struct vn_reply reply;
    int fds[VN_MOST_FDS], count;
    int fd = now_ns() >= not_before ? broker_call(VN_RESOLVER_NAME, SOCK_NONBLOCK) : -1;
    if (fd < 0)
        return false;
    bool answered = message_send(fd, &request, sizeof(request), NULL, 0, MSG_DONTWAIT) && wait_for_answer(fd);
    ssize_t got = answered ? message_receive(fd, &reply, sizeof(reply), fds, &count, MSG_DONTWAIT) : -1;
    quiet_close(fd);
    if (got < 0)
        return false;
    if (got != sizeof(reply) || reply.version != VN_SOCKETS_VERSION || reply.reason == VN_REASON_unsupported) {
        not_before = now_ns() + BROKER_PAUSE_NS;
        close_all(fds, count);
        return false;
    }
    *reason = reply.reason;
    table_learn(&reply, fds, count);
    return true;
}
