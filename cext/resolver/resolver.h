/* What the broker's resolver does with sockets: short, and never blocking. */
#pragma once

#include "abi/socket_layout.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

typedef __typeof__(((struct vn_table *)0)->entries[0]) vn_resolver_entry;

enum { RESOLVER_SILENT, RESOLVER_QUESTION, RESOLVER_WRONG };

static inline int resolver_accept(int listener) {
    return accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

/* The first message. It is only received when no descriptors came with it: to let go of those can block. */
static inline int resolver_hear(int fd, struct vn_request *request) {
    struct iovec iov = {request, sizeof(*request)};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    ssize_t got = recvmsg(fd, &message, MSG_PEEK | MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return RESOLVER_SILENT;
    if (got != (ssize_t)sizeof(*request) || (message.msg_flags & (MSG_CTRUNC | MSG_TRUNC)))
        return RESOLVER_WRONG;
    return recv(fd, request, sizeof(*request), MSG_DONTWAIT) == got ? RESOLVER_QUESTION : RESOLVER_WRONG;
}

static inline void resolver_answer(int fd, const struct vn_reply *reply, int table) {
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec iov = {(void *)reply, sizeof(*reply)};
    struct msghdr message = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
    memset(&control, 0, sizeof(control));
    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    control.header.cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(&control.header), &table, sizeof(int));
    if (sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        shutdown(fd, SHUT_RDWR);
}

static inline void resolver_dismiss(int fd) {
    shutdown(fd, SHUT_RDWR);
}

static inline bool resolver_is_loopback(const struct vn_address *address) {
    static const uint8_t one[16] = {[15] = 1};
    return address->family == AF_INET ? address->ip[0] == 127 : memcmp(address->ip, one, sizeof(one)) == 0;
}

static inline bool resolver_is_bound(int probe, unsigned port, const char *text) {
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int length = snprintf(name.sun_path + 1, sizeof(name.sun_path) - 1, VN_LISTENER_NAME, port, text);
    return connect(probe, (struct sockaddr *)&name,
                   (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length)) == 0;
}

/* Whether a listener with the library can be there, in the probe's namespace. */
static inline bool resolver_has_listener(int probe, const struct vn_address *target) {
    char text[INET6_ADDRSTRLEN];
    if (inet_ntop(target->family, target->ip, text, sizeof(text)) == NULL)
        return false;
    return resolver_is_bound(probe, target->port, text) || resolver_is_bound(probe, target->port, "::") ||
           (target->family == AF_INET && resolver_is_bound(probe, target->port, "0.0.0.0"));
}
