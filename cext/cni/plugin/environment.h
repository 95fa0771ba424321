/* The environment that a runtime calls a CNI plugin in. */
#pragma once

#include "base/failure.h"

struct environment {
    const char *command;
    const char *container;
    const char *netns; /* NULL if it is not given, as DEL may have it */
    const char *ifname;
    const char *path; /* folders of other plugins, separated by colons */

    /* From CNI_ARGS; NULL if they are not there. */
    const char *ip;
    const char *mac;
    const char *pod;
    const char *pod_namespace;
};

/* Read the environment and check what the command must have. */
bool environment_read(struct environment *environment, struct failure *failure);
