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
