/* The lines of VNICD_DEBUG. They are made on the stack and written at once, so a signal handler may come here. */
#include "memory/debug.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "base/real.h"
#include "base/settings.h"

#define ADDRESS_ROOM (INET6_ADDRSTRLEN + 8)

static const char *const names[] = {
#define X(name) #name,
    VN_REASONS(X)
#undef X
};

__attribute__((format(printf, 1, 2))) static void say(const char *format, ...) {
    char line[320];
    int saved = errno, length = snprintf(line, sizeof(line), "vnicd[%d]: ", (int)getpid());
    va_list arguments;
    va_start(arguments, format);
    length += vsnprintf(line + length, sizeof(line) - (size_t)length - 1, format, arguments);
    va_end(arguments);
    if (length > (int)sizeof(line) - 2)
        length = (int)sizeof(line) - 2;
    line[length++] = '\n';
    if (quiet_write(STDERR_FILENO, line, (size_t)length) < 0) {
        /* standard error is closed: nobody wants to know */
    }
    errno = saved;
}

static const char *text_of(const struct vn_address *address, char text[ADDRESS_ROOM]) {
    char ip[INET6_ADDRSTRLEN] = "?";
    inet_ntop(address->family, address->ip, ip, sizeof(ip));
    snprintf(text, ADDRESS_ROOM, address->family == AF_INET6 ? "[%s]:%u" : "%s:%u", ip, (unsigned)address->port);
    return text;
}

void debug_decision(enum vn_reason reason, const struct vn_address *target, int fd) {
    char text[ADDRESS_ROOM];
    if (UNLIKELY(settings.debug))
        say("descriptor %d to %s: %s", fd, text_of(target, text), names[reason]);
}

void debug_phase(uint32_t serial, const struct vn_region *own, const char *from, const char *to) {
    char local[ADDRESS_ROOM], remote[ADDRESS_ROOM];
    if (UNLIKELY(settings.debug))
        say("connection %u, %s to %s: %s, was %s", serial, text_of(&own->local, local), text_of(&own->remote, remote),
            to, from);
}

void debug_relay(uint32_t serial, const struct vn_region *own, int fd) {
    char local[ADDRESS_ROOM], remote[ADDRESS_ROOM];
    if (UNLIKELY(settings.debug))
        say("connection %u, %s to %s: descriptor %d goes on by a relay", serial, text_of(&own->local, local),
            text_of(&own->remote, remote), fd);
}
