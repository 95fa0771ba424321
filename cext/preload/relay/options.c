/* Options of a relay's end. TCP's and IP's are those of a TCP socket beside it: of the one that it was, in the process
 * where it became a relay's, or else of a fresh one, by which they are checked and kept. */
#include "relay/options.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>

#include "base/real.h"
#include "fdtable/entry.h"
#include "fdtable/hidden.h"
#include "relay/relay.h"

struct relay_end {
    struct entry entry;
    int tcp; /* hidden */
};

static void destroy(struct entry *entry) {
    int saved = errno;
    hidden_close(((struct relay_end *)entry)->tcp);
    entry_free(entry);
    errno = saved;
}

/* Takes over the hidden descriptor. */
static void enter(int fd, int tcp) {
    struct relay_end *end = tcp >= 0 ? (struct relay_end *)entry_new(ENTRY_RELAY_END, sizeof(*end), destroy) : NULL;
    if (end == NULL) {
        if (tcp >= 0)
            hidden_close(tcp);
        return;
    }
    end->tcp = tcp;
    entry_set(fd, &end->entry);
    entry_release(&end->entry);
}

/* Of those that a Unix socket has as well. Buffers are left out: they mean another amount there. */
static const int copied[] = {SO_RCVTIMEO,  SO_SNDTIMEO,  SO_RCVLOWAT,  SO_LINGER,
                             SO_KEEPALIVE, SO_OOBINLINE, SO_REUSEADDR, SO_PRIORITY};

void relay_copy_options(int end, int tcp) {
    for (size_t i = 0; i < sizeof(copied) / sizeof(copied[0]); i++) {
        char value[16], before[16];
        socklen_t length = sizeof(value), same = sizeof(before);
        bool known = real_getsockopt(tcp, SOL_SOCKET, copied[i], value, &length) == 0 &&
                     real_getsockopt(end, SOL_SOCKET, copied[i], before, &same) == 0;
        if (known && (length != same || memcmp(value, before, length) != 0))
            real_setsockopt(end, SOL_SOCKET, copied[i], value, length);
    }
}

void relay_keep_options(int fd, int tcp) {
    enter(fd, hide_copy(tcp));
}

/* The relay's end that fd is, held; in a program that has inherited it, it is found by its name. */
static struct relay_end *end_of(int fd) {
    struct vn_address local, remote;
    struct entry *entry = entry_hold(fd);
    if (entry == NULL && relay_names(fd, &local, &remote)) {
        int tcp = real_socket(local.family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        enter(fd, tcp >= 0 ? hide(tcp) : -1);
        entry = entry_hold(fd);
    }
    if (entry == NULL || entry->kind == ENTRY_RELAY_END)
        return (struct relay_end *)entry;
    entry_release(entry);
    return NULL;
}

static bool is_of_tcp(int level) {
    return level == IPPROTO_TCP || level == IPPROTO_IP || level == IPPROTO_IPV6;
}

/* Whether the kernel's own answer is not good enough; most calls are for other sockets, and stop here. */
static bool may_be_end(int fd, int level, int option) {
    const struct entry *entry = entry_of(fd);
    if (entry != NULL && entry->kind != ENTRY_RELAY_END)
        return false;
    if (!is_of_tcp(level) && (level != SOL_SOCKET || (option != SO_DOMAIN && option != SO_PROTOCOL)))
        return false;
    int domain = 0, saved = errno;
    socklen_t length = sizeof(domain);
    bool is_unix = real_getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) == 0 && domain == AF_UNIX;
    errno = saved;
    return is_unix;
}

bool relay_setsockopt(int fd, int level, int option, const void *value, socklen_t length, int *result) {
    struct relay_end *end = may_be_end(fd, level, option) ? end_of(fd) : NULL;
    if (end == NULL)
        return false;
    *result = real_setsockopt(end->tcp, level, option, value, length);
    int saved = errno;
    entry_release(&end->entry);
    errno = saved;
    return true;
}

bool relay_getsockopt(int fd, int level, int option, void *value, socklen_t *length, int *result) {
    struct relay_end *end = may_be_end(fd, level, option) ? end_of(fd) : NULL;
    if (end == NULL)
        return false;
    *result = real_getsockopt(end->tcp, level, option, value, length);
    int saved = errno;
    if (*result == 0 && level == IPPROTO_TCP && option == TCP_INFO && *length >= 1)
        *(uint8_t *)value = TCP_ESTABLISHED;
    entry_release(&end->entry);
    errno = saved;
    return true;
}
