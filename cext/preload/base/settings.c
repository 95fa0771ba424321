/* The environment variables that the library reads. */
#include "base/settings.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "abi/socket_layout.h"

struct settings settings;

static uint64_t number(const char *name, uint64_t otherwise, uint64_t most) {
    const char *text = getenv(name);
    char *end;
    if (text == NULL || *text == '\0')
        return otherwise;
    unsigned long long value = strtoull(text, &end, 10);
    return *end != '\0' || value > most ? otherwise : value;
}

static bool is_set_to(const char *name, const char *value) {
    const char *text = getenv(name);
    return text != NULL && strcmp(text, value) == 0;
}

/* A program that connects in order to hand the connection to one child after the other, each of which reads a part: for
 * that, relays are not exact enough, nor are they worth it. What it starts has the library. */
static bool is_shell(void) {
    static const char *const names[] = {"bash", "gawk", "ksh", "ksh93", "rbash", "sh", "zsh"};
    const char *own = program_invocation_short_name;
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        if (strcmp(own + (*own == '-'), names[i]) == 0) /* a login shell's begins so */
            return true;
    return false;
}

/* Allocates nothing: the first call of a hook may come from within malloc, as jemalloc opens files by `syscall`. */
void settings_read(void) {
    static char own[108]; /* sun_path's room */
    const char *broker = getenv("VNICD_BROKER");
    bool fits = broker != NULL && strlen(broker) < sizeof(own);
    if (fits)
        strcpy(own, broker);
    settings.broker = fits && *own != '\0' ? own : VN_BROKER_NAME;
    settings.off = is_set_to("VNICD_DIRECT", "0") || (broker != NULL && !fits) || is_shell();
    settings.loopback = is_set_to("VNICD_LOOPBACK", "1");
    settings.io_uring = is_set_to("VNICD_IO_URING", "1");
    settings.debug = is_set_to("VNICD_DEBUG", "1");
    settings.poll_ns = number("VNICD_POLL_US", 50, 1000000) * 1000;
    settings.large = (enum large_rings)number("VNICD_LARGE", LARGE_WHEN_FAST, 1);
    settings.short_lived = !is_set_to("VNICD_SHORT_LIVED", "1");
    settings.answer_ns = number("VNICD_ANSWER_MS", 200, 60000) * MILLISECOND_NS;
}
