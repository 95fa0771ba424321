/* Which targets can be ruled out without a round trip: see presence.h.
 *
 * The broker publishes possible targets as abstract socket names, one for each address in fabrics of up to 32
 * addresses, else one for each network; and one for each port at which the library listens in any partition. A failed
 * connect(2) to the name rules a target out. Most programs never ask the broker. */
#include "discovery/presence.h"

#include <stdio.h>

#include "base/real.h"
#include "base/sockaddr.h"

static bool is_bound(int probe, const char *text) {
    struct sockaddr_un name;
    socklen_t length = abstract_name(&name, VN_PRESENCE_NAME, text);
    return quiet_connect(probe, (struct sockaddr *)&name, length) == 0;
}

/* The address, or its first bytes, in hex. */
static const char *hex_of(char text[33], const struct vn_address *address, int bytes) {
    static const char digits[] = "0123456789abcdef";
    for (int i = 0; i < bytes; i++) {
        text[2 * i] = digits[address->ip[i] >> 4];
        text[2 * i + 1] = digits[address->ip[i] & 15];
    }
    text[2 * bytes] = '\0';
    return text;
}

static enum presence look(int probe, const struct vn_address *target) {
    char text[33];
    bool is_ipv4 = target->family == AF_INET;
    if (!is_bound(probe, hex_of(text, target, is_ipv4 ? 2 : 4)))
        return is_bound(probe, VN_PRESENCE_HERE) ? PRESENCE_OUTSIDE : PRESENCE_ALONE;
    if (!is_bound(probe, VN_PRESENCE_EXACT))
        return PRESENCE_POSSIBLE;
    if (!is_bound(probe, hex_of(text, target, is_ipv4 ? 4 : 16)))
        return PRESENCE_OUTSIDE;
    snprintf(text, sizeof(text), VN_PRESENCE_PORT, target->port);
    return is_bound(probe, VN_PRESENCE_PORTS) && !is_bound(probe, text) ? PRESENCE_SILENT : PRESENCE_POSSIBLE;
}

enum presence presence_look(const struct vn_address *target) {
    int saved = errno, probe = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    enum presence found = PRESENCE_OUTSIDE;
    if (probe >= 0) {
        found = look(probe, target);
        quiet_close(probe);
    }
    errno = saved;
    return found;
}
