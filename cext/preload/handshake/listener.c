/* listen: the marker that tells the broker of a listener with the provider, and the listener's door. */
#include "listener.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/un.h>
#include <unistd.h>

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

/* Binds the name; -1 when another process listens at the same address, by SO_REUSEPORT or after a fork, and has it. */
static int mark(const struct vn_address *address) {
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    char text[INET6_ADDRSTRLEN];
    inet_ntop(address->family, address->ip, text, sizeof(text));
    int length = snprintf(name.sun_path + 1, sizeof(name.sun_path) - 1, VN_LISTENER_NAME, address->port, text);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if (bind(fd, (struct sockaddr *)&name, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length)) != 0) {
        real_close(fd);
        return -1;
    }
    return hide(fd);
}

void listener_tell(struct listener *listener) {
    if (listener->told && listener->marker >= 0)
        return;
    uint64_t now = now_ns(), after = listener->tell_after;
    if (now < after || !atomic_compare_exchange_strong(&listener->tell_after, &after, now + VN_PAUSE_NS))
        return;
    if (listener->marker < 0)
        listener->marker = mark(&listener->address);
    listener->told = broker_listen(&listener->address);
}

/* What a socket with a name needs to listen, before it does: whoever finds it listening finds out that we have the
 * provider. NULL when that is not for us. */
static struct listener *begin(int fd) {
    struct sockaddr_storage name;
    struct vn_address address;
    socklen_t room = sizeof(name), length = sizeof(int);
    int type = 0, door[2] = {-1, -1};
    if (vn_settings.off || (unsigned)fd >= VN_MAX_FD || entry_of(fd) != NULL ||
        real_getsockname(fd, (struct sockaddr *)&name, &room) != 0 ||
        !address_from(&address, (struct sockaddr *)&name, room) || address.port == 0 ||
        real_getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) != 0 || type != SOCK_STREAM)
        return NULL;
    struct listener *listener = calloc(1, sizeof(*listener));
    if (listener == NULL)
        return NULL;
    listener->entry = (struct entry){VN_LISTENER, 1, listener_destroy};
    listener->family = name.ss_family;
    listener->address = address;
    listener->marker = -1;
    spare_hold();
    listener_tell(listener);
    if (getrandom(listener->secret, sizeof(listener->secret), 0) == sizeof(listener->secret))
        door_open(door);
    listener->inside = door[0];
    listener->outside = door[1];
    return listener;
}

static void enter(int fd, struct listener *listener) {
    entry_set(fd, &listener->entry);
    epoll_leave(fd);       /* it may be in a set already, without its door */
    epoll_rejoin(fd);
}

void listener_adopt(int fd) {
    int listens = 0, saved = errno;
    socklen_t length = sizeof(int);
    bool is_one = real_getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length) == 0 && listens;
    struct listener *listener = is_one ? begin(fd) : NULL;
    if (listener != NULL)
        enter(fd, listener);
    errno = saved;
}

EXPORT int listen(int fd, int backlog) {
    int saved = errno;
    READY();
    struct listener *listener = begin(fd);
    errno = saved;
    int result = real_listen(fd, backlog);
    if (result == 0 && listener != NULL)
        enter(fd, listener);
    else if (result == 0)
        listener_adopt(fd);   /* its name came with it */
    else if (listener != NULL)
        listener_destroy(&listener->entry);
    return result;
}
