/* What each command does. The hosting daemon makes a partition whole or not at all. What has to be undone here is what
 * lies around that: the IPAM plugin's reservation, and a partition whose ports could not be published. */
#include "plugin/commands.h"

#include <string.h>

#include "base/control.h"
#include "base/text.h"
#include "plugin/attachment.h"
#include "plugin/ipam.h"
#include "plugin/result.h"

enum { MOST_PARTITIONS = 255 };

static bool remove_partition(const struct config *config, const char *container, const char *ifname,
                             struct failure *failure) {
    char *name = attachment_name(config->name, container, ifname);
    return attachment_remove(config->control, name, attachment_owner(config->name, container, ifname), failure);
}

static json_t *add_partition(const struct config *config, const struct environment *environment, json_t *given,
                             struct failure *failure) {
    json_t *params = attachment_params(config, environment, failure);
    if (!params || (given && !attachment_take_ips(params, given, failure)))
        return NULL;
    return control_call(config->control, "partition.add", params, CHANGE_TIMEOUT_MS, failure);
}

/* Give an interface that is there the addresses that were leased by way of it. */
static json_t *set_addresses(const struct config *config, const json_t *partition, const json_t *given,
                             struct failure *failure) {
    json_t *params = json_pack("{s:O}", "name", json_object_get(partition, "name"));
    if (!attachment_take_ips(params, given, failure))
        return NULL;
    return control_call(config->control, "partition.set", params, CHANGE_TIMEOUT_MS, failure);
}

/* Whether the container has this interface already. The IPAM plugin would refuse it a second address, and be asked next
 * to release the one that the first has. */
static bool is_there(const struct config *config, const struct environment *environment) {
    char *name = attachment_name(config->name, environment->container, environment->ifname);
    struct failure ignored;
    json_t *params = json_pack("{s:s}", "name", name);
    return control_call(config->control, "partition.show", params, READ_TIMEOUT_MS, &ignored) != NULL;
}

/* The partition with its addresses; NULL with `failure`, and then it is for the caller to take back what there is. */
static json_t *attach(const struct config *config, const struct environment *environment, json_t **given,
                      struct failure *failure) {
    bool is_late = ipam_needs_interface(config);
    if (!is_late && !ipam_run(config, environment, "ADD", given, failure))
        return NULL;
    json_t *partition = add_partition(config, environment, *given, failure);
    if (!partition || !is_late)
        return partition;
    if (ipam_run(config, environment, "ADD", given, failure)) {
        json_t *changed = set_addresses(config, partition, *given, failure);
        if (changed)
            return changed;
    }
    struct failure ignored;
    remove_partition(config, environment->container, environment->ifname, &ignored);
    return NULL;
}

static bool publish(const struct config *config, const struct environment *environment, struct failure *failure) {
    char *name = attachment_name(config->name, environment->container, environment->ifname);
    json_t *ports = attachment_ports(any_case(config->runtime, "portMappings"), name, failure);
    if (!ports || json_array_size(ports) == 0)
        return ports != NULL;
    json_t *params = json_pack("{s:o}", "publish", ports);
    return control_call(config->control, "publish.add", params, CHANGE_TIMEOUT_MS, failure) != NULL;
}

static bool add(const struct config *config, const struct environment *environment, struct failure *failure) {
    if (!config_is_usable(config, failure))
        return false;
    if (config->ipam && is_there(config, environment))
        return fail_as(failure, "exists", text("the container has an interface %s already", environment->ifname), "");
    json_t *given = NULL, *partition = attach(config, environment, &given, failure);
    struct failure ignored;
    if (partition) {
        if (publish(config, environment, failure) && (print_json(result_make(config, environment, partition, given)) ||
                                                      fail(failure, CNI_IO, "the result can't be written")))
            return true;
        remove_partition(config, environment->container, environment->ifname, &ignored);
    }
    ipam_run(config, environment, "DEL", NULL, &ignored);
    return false;
}

/* Done when nothing is left that we can reach. Without a hosting daemon the partition is left to GC, and to the next
 * daemon, which removes it when its namespace is gone. Addresses are given back in any case. */
static bool del(const struct config *config, const struct environment *environment, struct failure *failure) {
    bool is_removed = remove_partition(config, environment->container, environment->ifname, failure) ||
                      is_kind(failure, "not_running");
    struct failure of_ipam;
    if (!ipam_run(config, environment, "DEL", NULL, &of_ipam) && is_removed) {
        *failure = of_ipam;
        return false;
    }
    return is_removed;
}

static bool check(const struct config *config, const struct environment *environment, struct failure *failure) {
    if (!config->previous)
        return fail(failure, CNI_BAD_CONFIG, "CHECK needs a prevResult");
    json_t *params =
        json_pack("{s:s}", "name", attachment_name(config->name, environment->container, environment->ifname));
    json_t *partition = control_call(config->control, "partition.show", params, READ_TIMEOUT_MS, failure);
    if (!partition && is_kind(failure, "not_found"))
        return fail(failure, CNI_UNKNOWN_CONTAINER, "the container has no interface %s of this network",
                    environment->ifname);
    return partition && result_check(config->previous, environment, partition, failure) &&
           ipam_run(config, environment, "CHECK", NULL, failure);
}

static bool status(const struct config *config, const struct environment *environment, struct failure *failure) {
    json_t *ping = control_call(config->control, "fabric.ping", json_object(), READ_TIMEOUT_MS, failure);
    if (!ping) {
        failure->code = CNI_NOT_AVAILABLE;
        return false;
    }
    if (!json_is_true(json_object_get(ping, "ready")))
        return fail(failure, CNI_NOT_AVAILABLE, "the hosting daemon is not ready yet");
    json_t *all = control_call(config->control, "partition.list", json_object(), READ_TIMEOUT_MS, failure);
    if (!all) {
        failure->code = CNI_NOT_AVAILABLE;
        return false;
    }
    if (json_array_size(json_object_get(all, "partitions")) >= MOST_PARTITIONS)
        return fail(failure, CNI_NOT_AVAILABLE, "all %d ports of the fabric are in use", MOST_PARTITIONS);
    return ipam_run(config, environment, "STATUS", NULL, failure);
}

/* Whether an attachment is among those that the runtime has. */
static bool is_valid(const json_t *valid, const char *container, const char *ifname) {
    json_t *each;
    size_t index;
    json_array_foreach((json_t *)valid, index, each) {
        const char *id = text_of(each, "containerID"), *name = text_of(each, "ifname");
        if (id && name && strcmp(id, container) == 0 && strcmp(name, ifname) == 0)
            return true;
    }
    return false;
}

/* Remove an attachment as DEL would, for an IPAM plugin that knows no GC. */
static bool collect(const struct config *config, const struct environment *environment, const json_t *owner,
                    struct failure *failure) {
    struct environment of_it = *environment;
    of_it.container = text_of(owner, OWNER_CONTAINER);
    of_it.ifname = text_of(owner, OWNER_INTERFACE);
    of_it.netns = NULL;
    return del(config, &of_it, failure);
}

static bool gc(const struct config *config, const struct environment *environment, struct failure *failure) {
    json_t *valid = json_object_get(config->root, "cni.dev/valid-attachments"), *each;
    if (!json_is_array(valid))
        return fail(failure, CNI_BAD_CONFIG, "GC needs the list cni.dev/valid-attachments");
    json_t *params = json_pack("{s:{s:s}}", "owner", OWNER_NETWORK, config->name);
    json_t *ours = control_call(config->control, "partition.list", params, READ_TIMEOUT_MS, failure);
    bool is_done = ours != NULL;
    size_t index;
    json_array_foreach(json_object_get(ours, "partitions"), index, each) {
        const json_t *owner = json_object_get(each, "owner");
        const char *container = text_of(owner, OWNER_CONTAINER), *ifname = text_of(owner, OWNER_INTERFACE);
        struct failure of_one;
        if (!container || !ifname || is_valid(valid, container, ifname) || collect(config, environment, owner, &of_one))
            continue;
        *failure = of_one; /* the last tells as much as the first, and the others are removed all the same */
        is_done = false;
    }
    struct failure of_ipam;
    if (!ipam_run(config, environment, "GC", NULL, &of_ipam) && is_done) {
        *failure = of_ipam;
        return false;
    }
    return is_done;
}

const struct command *command_named(const char *name) {
    static const struct command COMMANDS[] = {
        {"ADD", add, VERSION_0_3},       {"DEL", del, VERSION_0_3}, {"CHECK", check, VERSION_0_4},
        {"STATUS", status, VERSION_1_1}, {"GC", gc, VERSION_1_1},
    };
    for (size_t i = 0; i < sizeof COMMANDS / sizeof COMMANDS[0]; i++)
        if (strcmp(name, COMMANDS[i].name) == 0)
            return &COMMANDS[i];
    return NULL;
}
