/* What is printed: the result of ADD in the version that was asked for, and errors. */
#pragma once

#include <jansson.h>

#include "plugin/config.h"
#include "plugin/environment.h"

/* The result of ADD: what plugins before us have made, and this partition. `given` is the IPAM plugin's, or NULL. */
json_t *result_make(const struct config *config, const struct environment *environment, const json_t *partition,
                    const json_t *given);

/* Whether an interface, its addresses and its gateways are there as `result` says. */
bool result_check(const json_t *result, const struct environment *environment, const json_t *partition,
                  struct failure *failure);

/* Print an object on a line of its own; false when it can't be written. */
bool print_json(json_t *object);

/* Print an error as the specification has it. */
void print_failure(const char *version, const struct failure *failure);
