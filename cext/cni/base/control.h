/* A client of the hosting daemon's control socket (docs/reference/control-protocol.md). */
#pragma once

#include <jansson.h>

#include "base/failure.h"

enum {
    READ_TIMEOUT_MS = 10000,
    CHANGE_TIMEOUT_MS = 30000, /* a new partition daemon has 10 s, and others may be before us */
};

/* The path of the control socket of a network, below the runtime directory; NULL when it is too long. */
char *control_path(const char *runtime_dir, const char *network, struct failure *failure);

/* The result of a method; NULL when it has failed. Takes over `params`. */
json_t *control_call(const char *path, const char *method, json_t *params, int timeout_ms, struct failure *failure);
