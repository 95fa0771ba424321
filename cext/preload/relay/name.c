/* The name of a relay's end: an abstract one, from which a library reads the connection's addresses. */
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/un.h>

#include "base/real.h"
#include "relay/relay.h"

#define NAME "vnicd-relay/"

static int put_address(char *text, const struct vn_address *address) {
    int bytes = address->family == AF_INET ? 4 : 16, length = 0;
    for (int i = 0; i < bytes; i++)
        length += sprintf(text + length, "%02x", address->ip[i]);
    return length + sprintf(text + length, ":%04x/", address->port);
}

static const char *get_address(const char *text, struct vn_address *address) {
    const char *colon = strchr(text, ':');
    unsigned value;
    int used;
    memset(address, 0, sizeof(*address));
    if (colon == NULL || (colon - text != 8 && colon - text != 32))
        return NULL;
    address->family = colon - text == 8 ? AF_INET : AF_INET6;
    for (int i = 0; text < colon; text += 2, i++) {
        if (sscanf(text, "%2x", &value) != 1)
            return NULL;
        address->ip[i] = (uint8_t)value;
    }
    if (sscanf(colon, ":%4x/%n", &value, &used) != 1 || colon[used - 1] != '/')
        return NULL;
    address->port = (uint16_t)value;
    return colon + used;
}

/* At most 105 characters: an abstract name has room for 107. A scope belongs to both ends. */
void relay_give_name(int end, const struct vn_region *region) {
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    for (int tries = 0; tries < 4; tries++) {
        char text[160];
        uint32_t random = 0;
        int length = sprintf(text, NAME);
        if (getrandom(&random, sizeof(random), GRND_NONBLOCK) < 0)
            random = (uint32_t)now_ns();
        length += put_address(text + length, &region->local);
        length += put_address(text + length, &region->remote);
        length += sprintf(text + length, "%" PRIx32 "/%08" PRIx32, region->local.scope, random);
        memcpy(name.sun_path + 1, text, (size_t)length);
        if (bind(end, (struct sockaddr *)&name,
                 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length)) == 0)
            return;
    } /* without a name the bytes flow all the same */
}

bool relay_names(int fd, struct vn_address *local, struct vn_address *remote) {
    struct sockaddr_un name;
    socklen_t room = sizeof(name);
    char text[sizeof(name.sun_path) + 1];
    const char *rest;
    unsigned scope = 0;
    if (real_getsockname(fd, (struct sockaddr *)&name, &room) != 0 || name.sun_family != AF_UNIX)
        return false;
    if (room <= offsetof(struct sockaddr_un, sun_path) + 1 || room > sizeof(name) || name.sun_path[0] != '\0')
        return false;
    size_t length = room - offsetof(struct sockaddr_un, sun_path) - 1;
    memcpy(text, name.sun_path + 1, length);
    text[length] = '\0';
    if (strncmp(text, NAME, strlen(NAME)) != 0 || (rest = get_address(text + strlen(NAME), local)) == NULL ||
        (rest = get_address(rest, remote)) == NULL || sscanf(rest, "%x/", &scope) != 1)
        return false;
    local->scope = remote->scope = scope;
    return true;
}
