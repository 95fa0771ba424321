/* Addresses: the program's sockaddr, and how the library and the broker write them. */
#include "base/sockaddr.h"

#include <netinet/in.h>
#include <string.h>

#include "base/real.h"

bool address_from(struct vn_address *address, const struct sockaddr *name, socklen_t length) {
    memset(address, 0, sizeof(*address));
    if (name->sa_family == AF_INET && length >= sizeof(struct sockaddr_in)) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)name;
        address->family = AF_INET;
        address->port = ntohs(in->sin_port);
        memcpy(address->ip, &in->sin_addr, 4);
        return true;
    }
    if (name->sa_family == AF_INET6 && length >= offsetof(struct sockaddr_in6, sin6_scope_id)) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)name;
        address->port = ntohs(in6->sin6_port);
        if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr)) {
            address->family = AF_INET;
            memcpy(address->ip, &in6->sin6_addr.s6_addr[12], 4);
            return true;
        }
        address->family = AF_INET6;
        memcpy(address->ip, &in6->sin6_addr, 16);
        if (length >= sizeof(*in6))
            address->scope = in6->sin6_scope_id;
        return true;
    }
    return false;
}

socklen_t address_to(const struct vn_address *address, int family, struct sockaddr *name, socklen_t room) {
    union {
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
    } to;
    socklen_t length = sizeof(to.in);
    memset(&to, 0, sizeof(to));
    if (family == AF_INET) {
        to.in.sin_family = AF_INET;
        to.in.sin_port = htons(address->port);
        memcpy(&to.in.sin_addr, address->ip, 4);
    } else {
        length = sizeof(to.in6);
        to.in6.sin6_family = AF_INET6;
        to.in6.sin6_port = htons(address->port);
        to.in6.sin6_scope_id = address->scope;
        memcpy(&to.in6.sin6_addr, address->ip, 16);
        if (address->family == AF_INET) {
            memset(&to.in6.sin6_addr, 0, 16);
            memset(&to.in6.sin6_addr.s6_addr[10], 0xff, 2);
            memcpy(&to.in6.sin6_addr.s6_addr[12], address->ip, 4);
        }
    }
    if (name != NULL)
        memcpy(name, &to, room < length ? room : length);
    return length;
}

bool address_same(const struct vn_address *a, const struct vn_address *b) {
    return a->family == b->family && a->port == b->port && memcmp(a->ip, b->ip, sizeof(a->ip)) == 0;
}

bool address_is_loopback(const struct vn_address *address) {
    static const uint8_t one[16] = {[15] = 1};
    return address->family == AF_INET ? address->ip[0] == 127 : memcmp(address->ip, one, sizeof(one)) == 0;
}

bool address_is_any(const struct vn_address *address) {
    static const uint8_t any[16];
    return memcmp(address->ip, any, sizeof(any)) == 0;
}

bool address_of_socket(int fd, struct vn_address *address, int *family) {
    struct sockaddr_storage name;
    socklen_t room = sizeof(name);
    if (real_getsockname(fd, (struct sockaddr *)&name, &room) != 0)
        return false;
    *family = name.ss_family;
    return address_from(address, (struct sockaddr *)&name, room);
}

socklen_t abstract_name(struct sockaddr_un *name, const char *text, const char *more) {
    size_t length = strlen(text), rest = strlen(more);
    *name = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (length + rest + 1 >= sizeof(name->sun_path))
        return 0;
    memcpy(name->sun_path + 1, text, length);
    memcpy(name->sun_path + 1 + length, more, rest);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + length + rest);
}

uint64_t socket_timeout_ns(int fd, int option) {
    struct timeval time = {0, 0};
    socklen_t length = sizeof(time);
    real_getsockopt(fd, SOL_SOCKET, option, &time, &length);
    return (uint64_t)time.tv_sec * SECOND_NS + (uint64_t)time.tv_usec * 1000;
}

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83 /* Linux 6.16 */
#endif

void refuse_descriptors(int fd) {
    int no = 0, saved = errno;
    real_setsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &no, sizeof(no));
    errno = saved;
}

bool is_unix(int fd) {
    int domain = 0;
    socklen_t length = sizeof(domain);
    return real_getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) == 0 && domain == AF_UNIX;
}

bool is_tcp(int fd, int *family) {
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
