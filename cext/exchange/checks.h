/* What the exchange receives, how it judges descriptors, and how it answers; nothing here blocks.
 *
 * Only calls are used on a descriptor that fail at once for the wrong kind of file: to ask some files for their size, or
 * to close them, takes as long as their owner likes.
 */
#pragma once

#include "exchange/exchange.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define EXCHANGE_SO_NETNS_COOKIE 71 /* Linux 5.14; not in the C library's headers of then */

struct exchange_message {
    struct vn_request request;
    bool direct; /* so it was answered; else the TCP socket that came with it goes on being used */
    int count;
    int fds[EXCHANGE_MOST_FDS];
};

enum exchange_heard { EXCHANGE_NOTHING, EXCHANGE_REQUEST, EXCHANGE_WRONG };

static void exchange_take_fds(struct exchange_message *message, struct msghdr *header) {
    for (struct cmsghdr *each = CMSG_FIRSTHDR(header); each != NULL; each = CMSG_NXTHDR(header, each)) {
        if (each->cmsg_level != SOL_SOCKET || each->cmsg_type != SCM_RIGHTS)
            continue;
        int here = (int)((each->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        for (int i = 0; i < here && message->count < EXCHANGE_MOST_FDS; i++)
            memcpy(&message->fds[message->count++], CMSG_DATA(each) + (size_t)i * sizeof(int), sizeof(int));
    }
}

/* Descriptors may come with whatever it was. */
static enum exchange_heard exchange_hear(int fd, struct exchange_message *message) {
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(EXCHANGE_MOST_FDS * sizeof(int))];
    } control;
    struct {
        struct vn_request request;
        char surplus;
    } data;
    struct iovec iov = {&data, sizeof(data.request) + 1};
    struct msghdr header = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
    message->count = 0;
    message->direct = false;
    ssize_t got = recvmsg(fd, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (got < 0)
        return errno == EAGAIN || errno == EINTR ? EXCHANGE_NOTHING : EXCHANGE_WRONG;
    exchange_take_fds(message, &header);
    message->request = data.request;
    return got == sizeof(data.request) ? EXCHANGE_REQUEST : EXCHANGE_WRONG;
}

/* False when the client does not take it: who never reads has no place here. */
static bool exchange_answer(int fd, uint32_t reason, const int *fds, int count) {
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(2 * sizeof(int))];
    } control;
    struct vn_reply reply = {.version = VN_SOCKETS_VERSION, .reason = reason};
    struct iovec iov = {&reply, sizeof(reply)};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    if (count > 0) {
        memset(&control, 0, sizeof(control));
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE((size_t)count * sizeof(int));
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN((size_t)count * sizeof(int));
        memcpy(CMSG_DATA(&control.header), fds, (size_t)count * sizeof(int));
    }
    return sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)sizeof(reply);
}

/* ------------------------------------------------------------------------------------------------ addresses */

/* Brings an address into the one form in which it is compared; false when nobody knows its family. */
static bool exchange_normalize(struct vn_address *address) {
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    address->scope = 0;
    if (address->family == AF_INET6 && memcmp(address->ip, mapped, sizeof(mapped)) == 0) {
        memmove(address->ip, address->ip + sizeof(mapped), 4);
        address->family = AF_INET;
    }
    if (address->family == AF_INET)
        memset(address->ip + 4, 0, sizeof(address->ip) - 4);
    else if (address->family == 0)
        memset(address, 0, sizeof(*address));
    else if (address->family != AF_INET6)
        return false;
    return true;
}

static void exchange_from_name(struct vn_address *address, const struct sockaddr_storage *name) {
    memset(address, 0, sizeof(*address));
    if (name->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)name;
        *address = (struct vn_address){.family = AF_INET, .port = ntohs(in->sin_port)};
        memcpy(address->ip, &in->sin_addr, 4);
    } else if (name->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)name;
        *address = (struct vn_address){.family = AF_INET6, .port = ntohs(in6->sin6_port)};
        memcpy(address->ip, &in6->sin6_addr, 16);
    }
    exchange_normalize(address);
}

static bool exchange_same_ip(const struct vn_address *one, const struct vn_address *other) {
    return one->family == other->family && memcmp(one->ip, other->ip, sizeof(one->ip)) == 0;
}

static bool exchange_same(const struct vn_address *one, const struct vn_address *other) {
    return one->port == other->port && exchange_same_ip(one, other);
}

static bool exchange_same_key(const struct exchange_key *one, const struct exchange_key *other) {
    return exchange_same(&one->source, &other->source) && exchange_same(&one->target, &other->target);
}

/* ---------------------------------------------------------------------------------------------- descriptors */

static int exchange_option(int fd, int option) {
    int value = -1;
    socklen_t length = sizeof(value);
    return getsockopt(fd, SOL_SOCKET, option, &value, &length) == 0 ? value : -1;
}

static bool exchange_is_doorbell(int fd) {
    return exchange_option(fd, SO_DOMAIN) == AF_UNIX && exchange_option(fd, SO_TYPE) == SOCK_STREAM;
}

/* Memory of the right size that can't shrink or grow. Only memory has seals, and only memory is asked for its size. */
static bool exchange_is_region(int fd) {
    int seals = fcntl(fd, F_GET_SEALS), wanted = F_SEAL_SHRINK | F_SEAL_GROW;
    struct stat status;
    return seals >= 0 && (seals & wanted) == wanted && fstat(fd, &status) == 0 && status.st_size == VN_REGION_BYTES;
}

struct exchange_names {              /* of a TCP socket */
    struct vn_address local, remote; /* family 0: not connected */
    uint64_t cookie;                 /* of its namespace; 0 where the kernel can't say it */
};

/* False when it is no TCP socket. */
static bool exchange_tcp_names(int fd, struct exchange_names *names) {
    struct sockaddr_storage name = {.ss_family = 0};
    socklen_t length = sizeof(name), room = sizeof(names->cookie);
    if (exchange_option(fd, SO_PROTOCOL) != IPPROTO_TCP || exchange_option(fd, SO_TYPE) != SOCK_STREAM)
        return false;
    int domain = exchange_option(fd, SO_DOMAIN);
    if ((domain != AF_INET && domain != AF_INET6) || getsockname(fd, (struct sockaddr *)&name, &length) != 0)
        return false;
    exchange_from_name(&names->local, &name);
    name.ss_family = 0;
    length = sizeof(name);
    if (getpeername(fd, (struct sockaddr *)&name, &length) != 0)
        name.ss_family = 0;
    exchange_from_name(&names->remote, &name);
    if (getsockopt(fd, SOL_SOCKET, EXCHANGE_SO_NETNS_COOKIE, &names->cookie, &room) != 0)
        names->cookie = 0;
    return true;
}

/* Whether a socket that is to be connected may become this end of a connection. */
static bool exchange_may_become(const struct vn_address *local, const struct vn_address *source) {
    static const uint8_t anywhere[16];
    return local->port == source->port &&
           (memcmp(local->ip, anywhere, sizeof(anywhere)) == 0 || exchange_same_ip(local, source));
}
