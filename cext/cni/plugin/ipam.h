/* Delegation: another plugin of the machine gives the addresses. */
#pragma once

#include <jansson.h>

#include "plugin/config.h"
#include "plugin/environment.h"

/* Have the IPAM plugin carry out `command`; true without one. The result of ADD is put into `*result`; `result` is NULL
 * for the other commands. */
bool ipam_run(const struct config *config, const struct environment *environment, const char *command, json_t **result,
              struct failure *failure);

/* Whether it can give addresses only once the interface is there. */
bool ipam_needs_interface(const struct config *config);
