/* What is known without asking: names that the broker has bound in the namespace, and that only have to be tried.
 *
 * So most programs never ask the broker, and one that talks to a partition without the provider does not wait for it.
 * There are names for the addresses of a small fabric, or for the networks of a large one, and for the ports at which
 * the provider listens in any partition: that one listens there at another address is asked for at the window.
 */
#include "internal.h"
#include "parts.h"

#include <netinet/in.h>
#include <stdio.h>
#include <unistd.h>

static bool is_bound(int probe, const char *text) {
    struct sockaddr_un name;
    socklen_t length = abstract_name(&name, VN_NEAR_NAME, text);
    return real_connect(probe, (struct sockaddr *)&name, length) == 0;
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

static enum nearness look(int probe, const struct vn_address *target) {
    char text[33];
    bool is_ipv4 = target->family == AF_INET;
    if (!is_bound(probe, hex_of(text, target, is_ipv4 ? 2 : 4)))
        return VN_FAR;
    if (!is_bound(probe, VN_NEAR_EXACT))
        return VN_NEAR;
    if (!is_bound(probe, hex_of(text, target, is_ipv4 ? 4 : 16)))
        return VN_FAR;
    snprintf(text, sizeof(text), VN_NEAR_PORT, target->port);
    return is_bound(probe, VN_NEAR_PORTS) && !is_bound(probe, text) ? VN_SILENT : VN_NEAR;
}

enum nearness near_look(const struct vn_address *target) {
    int saved = errno, probe = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    enum nearness found = VN_FAR;
    if (probe >= 0) {
        found = look(probe, target);
        real_close(probe);
    }
    errno = saved;
    return found;
}
