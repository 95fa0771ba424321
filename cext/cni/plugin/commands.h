/* The commands of CNI. */
#pragma once

#include "plugin/config.h"
#include "plugin/environment.h"

struct command {
    const char *name;
    bool (*run)(const struct config *config, const struct environment *environment, struct failure *failure);
    enum version since;
};

/* The command of this name; NULL if there is none. VERSION is not among them, as it has no configuration. */
const struct command *command_named(const char *name);
