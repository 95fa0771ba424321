/* Reads the configuration. What a runtime may ask for in several ways is asked for by the first that is there. */
#include "plugin/config.h"

#include <string.h>

#include "base/control.h"
#include "base/text.h"

static const struct {
    const char *name;
    enum version version;
} KNOWN[] = {
    {"0.3.0", VERSION_0_3}, {"0.3.1", VERSION_0_3}, {"0.4.0", VERSION_0_4},
    {"1.0.0", VERSION_1_0}, {"1.1.0", VERSION_1_1},
};

const char *const VERSIONS[] = {"0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0", NULL};

/* Whoever does not say a version means the first. */
static const char OLDEST[] = "0.1.0";

static bool read_version(struct config *config, struct failure *failure) {
    const char *name = text_of(config->root, "cniVersion");
    config->version_name = name ? name : OLDEST;
    for (size_t i = 0; i < sizeof KNOWN / sizeof KNOWN[0]; i++)
        if (strcmp(config->version_name, KNOWN[i].name) == 0) {
            config->version = KNOWN[i].version;
            return true;
        }
    return fail(failure, CNI_BAD_VERSION, "this plugin knows CNI 0.3.0 to 1.1.0, and not the %s of the configuration",
                config->version_name);
}

/* A member that may be left out, and else is an object. */
static bool read_object(const struct config *config, const char *key, json_t **value, struct failure *failure) {
    *value = json_object_get(config->root, key);
    if (json_is_null(*value))
        *value = NULL;
    return !*value || json_is_object(*value) || fail(failure, CNI_BAD_CONFIG, "%s is no object", key);
}

static bool read_network(struct config *config, struct failure *failure) {
    json_t *network = json_object_get(config->root, "network");
    const char *name = network ? json_string_value(network) : "default";
    config->name = text_of(config->root, "name");
    if (!config->name || !is_word(config->name, "_.-"))
        return fail(failure, CNI_BAD_CONFIG, "the configuration has no valid name of the network");
    if (!name || !is_word(name, "_.-"))
        return fail(failure, CNI_BAD_CONFIG, "network is not the name of a network of vnicd");
    config->control = control_path(text_of(config->root, "runtimeDir"), name, failure);
    return config->control != NULL;
}

static bool read_ipam(struct config *config, struct failure *failure) {
    json_t *ipam;
    if (!read_object(config, "ipam", &ipam, failure))
        return false;
    if (!ipam || json_object_size(ipam) == 0)
        return true;
    config->ipam = text_of(ipam, "type");
    if (config->ipam && is_word(config->ipam, "_.-"))
        return true;
    return fail(failure, CNI_BAD_CONFIG, "ipam has no valid type; leave ipam out for addresses of vnicd's network");
}

/* A member that may be left out or null, and else is of this type. */
static bool is_type(const json_t *object, const char *key, json_type type, const char *what, struct failure *failure) {
    const json_t *value = any_case(object, key);
    return !value || json_is_null(value) || json_typeof(value) == type ||
           fail(failure, CNI_BAD_CONFIG, "%s is no %s", key, what);
}

bool config_is_usable(const struct config *config, struct failure *failure) {
    const json_t *runtime = config->runtime;
    return is_type(config->root, "mtu", JSON_INTEGER, "whole number", failure) &&
           is_type(config->root, "mac", JSON_STRING, "text", failure) &&
           is_type(runtime, "mac", JSON_STRING, "text", failure) &&
           is_type(runtime, "ips", JSON_ARRAY, "list of texts", failure) &&
           is_type(runtime, "portMappings", JSON_ARRAY, "list", failure) &&
           is_type(runtime, "bandwidth", JSON_OBJECT, "object", failure);
}

bool config_read(struct config *config, const char *input, struct failure *failure) {
    json_error_t error;
    *config = (struct config){.input = input, .root = json_loads(input, JSON_REJECT_DUPLICATES, &error)};
    if (!json_is_object(config->root))
        return fail(failure, CNI_DECODE, "the configuration on standard input can't be read: %s",
                    config->root ? "it is no object" : error.text);
    return read_version(config, failure) && read_network(config, failure) && read_ipam(config, failure) &&
           read_object(config, "runtimeConfig", &config->runtime, failure) &&
           read_object(config, "prevResult", &config->previous, failure);
}

const char *config_version(const char *input) {
    const char *name = text_of(json_loads(input, 0, NULL), "cniVersion");
    return name ? name : "1.1.0";
}

static json_t *args(const struct config *config) {
    return json_object_get(json_object_get(config->root, "args"), "cni");
}

json_t *config_ips(const struct config *config, const struct environment *environment, struct failure *failure) {
    json_t *ips = json_object_get(config->runtime, "ips"), *each;
    if (json_array_size(ips) == 0)
        ips = json_object_get(args(config), "ips");
    if (!ips || json_is_null(ips))
        ips = json_array();
    if (json_array_size(ips) == 0 && environment->ip) {
        char *rest = text("%s", environment->ip);
        for (char *ip; (ip = strsep(&rest, ","));)
            json_array_append_new(ips, json_string(ip));
    }
    size_t index;
    json_array_foreach(ips, index, each) {
        if (!json_is_string(each)) {
            fail(failure, CNI_BAD_CONFIG, "ips is no list of texts");
            return NULL;
        }
    }
    if (!json_is_array(ips)) {
        fail(failure, CNI_BAD_CONFIG, "ips is no list of texts");
        return NULL;
    }
    return ips;
}

const char *config_mac(const struct config *config, const struct environment *environment) {
    const char *const asked[] = {text_of(config->runtime, "mac"), text_of(args(config), "mac"), environment->mac,
                                 text_of(config->root, "mac")};
    for (size_t i = 0; i < sizeof asked / sizeof asked[0]; i++)
        if (asked[i] && *asked[i])
            return asked[i];
    return NULL;
}
