/* An attachment - one interface of one container in one network - as a partition of the fabric. */
#pragma once

#include <jansson.h>

#include "plugin/config.h"
#include "plugin/environment.h"

/* The keys of the owner's words by which attachments are found again. */
#define OWNER_NETWORK "cni/network"
#define OWNER_CONTAINER "cni/container"
#define OWNER_INTERFACE "cni/interface"
#define OWNER_NAME "cni/name" /* of the container or pod, for people */

/* The name of the partition, and the words that say whose it is. */
char *attachment_name(const char *network, const char *container, const char *ifname);
json_t *attachment_owner(const char *network, const char *container, const char *ifname);

/* Remove a partition if it is this attachment's; also true when there is none. Takes over `owner`. */
bool attachment_remove(const char *control, const char *name, json_t *owner, struct failure *failure);

/* The parameters of partition.add, without addresses; NULL with `failure`. */
json_t *attachment_params(const struct config *config, const struct environment *environment, struct failure *failure);

/* Put what an IPAM plugin has given into parameters of partition.add or partition.set. */
bool attachment_take_ips(json_t *params, const json_t *given, struct failure *failure);

/* The texts of publish.add for capability portMappings, a list that may be empty; NULL with `failure`. */
json_t *attachment_ports(const json_t *mappings, const char *name, struct failure *failure);
