/* The network configuration on standard input: one object for this plugin, as libcni makes it. */
#pragma once

#include <jansson.h>

#include "base/failure.h"
#include "plugin/environment.h"

/* What differs between the versions of the specification, in their order. */
enum version { VERSION_0_3, VERSION_0_4, VERSION_1_0, VERSION_1_1 };

struct config {
    const char *input; /* as it came, for other plugins */
    json_t *root;
    const char *version_name;
    enum version version;
    const char *name;    /* of the network, to CNI; its attachments are known by it */
    const char *control; /* path of the hosting daemon's socket */
    const char *ipam;    /* the plugin that gives addresses; NULL if the fabric does */
    json_t *runtime;     /* runtimeConfig, or NULL */
    json_t *previous;    /* prevResult, or NULL */
};

/* Versions that a plugin can be asked in, the latest last; NULL behind it. */
extern const char *const VERSIONS[];

/* Read the configuration; false with `failure`. */
bool config_read(struct config *config, const char *input, struct failure *failure);

/* Whether what a runtime may ask for at ADD is of the types that it is to be; false with `failure`. */
bool config_is_usable(const struct config *config, struct failure *failure);

/* Only its version, of an input that may be nothing at all. */
const char *config_version(const char *input);

/* Addresses that the runtime asks for, a list of texts that may be empty; NULL with `failure`. */
json_t *config_ips(const struct config *config, const struct environment *environment, struct failure *failure);

/* The MAC address that it asks for; NULL if it asks for none. */
const char *config_mac(const struct config *config, const struct environment *environment);
