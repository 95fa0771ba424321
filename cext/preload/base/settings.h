/* The environment variables that the library reads, once, at its start. */
#pragma once

#include "base/common.h"

enum large_rings { LARGE_NEVER, LARGE_ALWAYS, LARGE_WHEN_FAST };

struct settings {
    bool off;               /* VNICD_DIRECT=0, or something that the library needs is missing */
    bool loopback;          /* VNICD_LOOPBACK=1: connections within a partition are direct too */
    bool io_uring;          /* VNICD_IO_URING=1: programs may use io_uring, which the library can't see */
    bool debug;             /* VNICD_DEBUG=1: the library says on standard error what it decides and does */
    const char *broker;     /* VNICD_BROKER: abstract name */
    uint64_t poll_ns;       /* VNICD_POLL_US */
    bool short_lived;       /* not VNICD_SHORT_LIVED=1: targets of short-lived connections are left to TCP */
    uint64_t answer_ns;     /* VNICD_ANSWER_MS: how long a client waits for the accepting end before it falls back */
    enum large_rings large; /* VNICD_LARGE */
};
extern struct settings settings;

void settings_read(void);
