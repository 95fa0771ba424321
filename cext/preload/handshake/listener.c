/* Listeners: the marker by which the broker knows that the library listens at an address. */
#include "handshake/listener.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>

#include "base/real.h"
#include "base/settings.h"
#include "base/sockaddr.h"
#include "discovery/client.h"
#include "discovery/resolver.h"
#include "fdtable/hidden.h"
#include "watch/watch.h"

static void listener_destroy(struct entry *entry) {
    struct listener *listener = (struct listener *)entry;
    int saved = errno;
    if (listener->marker >= 0)
        hidden_close(listener->marker);
    entry_free(entry);
    errno = saved;
}

/* Binds the name; -1 when another process listens at the same address, by SO_REUSEPORT or after a fork, and has it. */
static int mark(const struct vn_address *address) {
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    char text[INET6_ADDRSTRLEN];
    inet_ntop(address->family, address->ip, text, sizeof(text));
    int length = snprintf(name.sun_path + 1, sizeof(name.sun_path) - 1, VN_LISTENER_NAME, address->port, text);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if (bind(fd, (struct sockaddr *)&name, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length)) !=
        0) {
        quiet_close(fd);
        return -1;
    }
    return hide(fd);
}

void listener_announce(struct listener *listener) {
    if (listener->announced && listener->marker >= 0)
        return;
    uint64_t now = now_ns(), after = listener->announce_after;
    if (now < after || !atomic_compare_exchange_strong(&listener->announce_after, &after, now + BROKER_PAUSE_NS))
        return;
    if (listener->marker < 0)
        listener->marker = mark(&listener->address);
    listener->announced = broker_listen(&listener->address);
}

struct listener *listener_begin(int fd) {
    struct vn_address address;
    socklen_t length = sizeof(int);
    int type = 0, family = 0;
    if (settings.off || (unsigned)fd >= MAX_FD || entry_of(fd) != NULL || !address_of_socket(fd, &address, &family) ||
        address.port == 0 || real_getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) != 0 || type != SOCK_STREAM)
        return NULL;
    struct listener *listener = (struct listener *)entry_new(ENTRY_LISTENER, sizeof(*listener), listener_destroy);
    if (listener == NULL)
        return NULL;
    listener->family = family;
    listener->address = address;
    listener->marker = -1;
    spare_hold();
    listener_announce(listener);
    return listener;
}

void listener_enter(int fd, struct listener *listener) {
    entry_set(fd, &listener->entry);
    entry_release(&listener->entry);
}

void listener_adopt(int fd) {
    int listens = 0, saved = errno;
    socklen_t length = sizeof(int);
    bool is_one = real_getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length) == 0 && listens;
    struct listener *listener = is_one ? listener_begin(fd) : NULL;
    if (listener != NULL)
        listener_enter(fd, listener);
    errno = saved;
}
