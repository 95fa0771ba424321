/* Results are made of what the hosting daemon says of the partition, so that they tell what is there. */
#include "plugin/result.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/text.h"

static bool is_ipv6(const char *address) {
    return strchr(address, ':') != NULL;
}

static json_t *list(json_t *result, const char *key) {
    json_t *there = json_object_get(result, key);
    if (!json_is_array(there)) {
        there = json_array();
        json_object_set_new(result, key, there);
    }
    return there;
}

static void add_interface(json_t *result, const struct config *config, const struct environment *environment,
                          const json_t *partition) {
    json_t *made = json_pack("{s:s, s:O, s:s}", "name", environment->ifname, "mac", json_object_get(partition, "mac"),
                             "sandbox", environment->netns);
    if (config->version >= VERSION_1_1)
        json_object_set(made, "mtu", json_object_get(partition, "mtu"));
    json_array_append_new(list(result, "interfaces"), made);
}

/* The gateway that a partition, or the IPAM plugin, has for this address. */
static const char *gateway_of(const char *address, const json_t *partition, const json_t *given) {
    json_t *each;
    size_t index;
    json_array_foreach(json_object_get(given, "ips"), index, each) {
        const char *own = text_of(each, "address"), *gateway = text_of(each, "gateway");
        if (own && gateway && *gateway && strcmp(own, address) == 0)
            return gateway;
    }
    json_array_foreach(given ? NULL : json_object_get(partition, "gateways"), index, each) {
        if (is_ipv6(json_string_value(each)) == is_ipv6(address))
            return json_string_value(each);
    }
    return NULL;
}

static void add_ips(json_t *result, const struct config *config, const json_t *partition, const json_t *given) {
    json_int_t interface = (json_int_t)json_array_size(list(result, "interfaces")) - 1;
    json_t *ips = list(result, "ips"), *each;
    size_t index;
    json_array_foreach(json_object_get(partition, "addresses"), index, each) {
        const char *gateway = gateway_of(json_string_value(each), partition, given);
        json_t *ip = json_pack("{s:O, s:I}", "address", each, "interface", interface);
        if (gateway)
            json_object_set_new(ip, "gateway", json_string(gateway));
        if (config->version < VERSION_1_0)
            json_object_set_new(ip, "version", json_string(is_ipv6(json_string_value(each)) ? "6" : "4"));
        json_array_append_new(ips, ip);
    }
}

static void add_routes(json_t *result, const json_t *partition) {
    json_t *routes = list(result, "routes"), *each;
    size_t index;
    json_array_foreach(json_object_get(partition, "gateways"), index, each) {
        const char *all = is_ipv6(json_string_value(each)) ? "::/0" : "0.0.0.0/0";
        json_array_append_new(routes, json_pack("{s:s, s:O}", "dst", all, "gw", each));
    }
    json_array_foreach(json_object_get(partition, "routes"), index, each) {
        char *destination = text("%s", json_string_value(each)), *via = strstr(destination, " via ");
        json_t *route = json_object();
        if (via) {
            *via = '\0';
            json_object_set_new(route, "gw", json_string(via + strlen(" via ")));
        }
        json_object_set_new(route, "dst", json_string(destination));
        json_array_append_new(routes, route);
    }
}

/* Servers that somebody has asked for are what a container gets; else its fabric's own, if it answers names. */
static json_t *dns(const struct config *config, const json_t *partition, const json_t *given) {
    json_t *asked = json_object_get(config->runtime, "dns");
    if (json_array_size(json_object_get(asked, "servers"))) {
        json_t *made = json_object();
        json_object_set(made, "nameservers", json_object_get(asked, "servers"));
        if (json_object_get(asked, "searches"))
            json_object_set(made, "search", json_object_get(asked, "searches"));
        if (json_object_get(asked, "options"))
            json_object_set(made, "options", json_object_get(asked, "options"));
        return made;
    }
    json_t *const others[] = {json_object_get(config->root, "dns"), json_object_get(given, "dns"),
                              json_object_get(partition, "dns")};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (json_object_size(others[i]))
            return json_incref(others[i]);
    return NULL;
}

json_t *result_make(const struct config *config, const struct environment *environment, const json_t *partition,
                    const json_t *given) {
    json_t *result = config->previous ? json_deep_copy(config->previous) : json_object();
    json_object_set_new(result, "cniVersion", json_string(config->version_name));
    add_interface(result, config, environment, partition);
    add_ips(result, config, partition, given);
    add_routes(result, partition);
    json_t *names = dns(config, partition, given);
    if (names && json_object_size(json_object_get(result, "dns")) == 0)
        json_object_set_new(result, "dns", names);
    return result;
}

static bool has(const json_t *words, const char *word) {
    json_t *each;
    size_t index;
    json_array_foreach((json_t *)words, index, each) {
        if (json_is_string(each) && strcmp(json_string_value(each), word) == 0)
            return true;
    }
    return false;
}

/* The index of our interface; -1 if the result does not have it. */
static json_int_t find_interface(const json_t *result, const struct environment *environment) {
    json_t *each;
    size_t index;
    json_array_foreach(json_object_get(result, "interfaces"), index, each) {
        const char *name = text_of(each, "name"), *sandbox = text_of(each, "sandbox");
        if (name && sandbox && *sandbox && strcmp(name, environment->ifname) == 0)
            return (json_int_t)index;
    }
    return -1;
}

bool result_check(const json_t *result, const struct environment *environment, const json_t *partition,
                  struct failure *failure) {
    const json_t *actual = json_object_get(partition, "actual");
    const char *state = text_of(partition, "state"), *name = environment->ifname;
    json_int_t ours = find_interface(result, environment);
    json_t *each;
    size_t index;
    if (ours < 0)
        return fail(failure, CNI_BAD_CONFIG, "prevResult has no interface %s in the container", name);
    if (!state || strcmp(state, "up") != 0)
        return fail(failure, CNI_OWN, "%s is not up: it is %s", name, state ? state : "unknown");
    if (!json_is_object(actual) || !json_is_true(json_object_get(actual, "up")))
        return fail(failure, CNI_OWN, "%s is set down, or is not there", name);
    const char *mac = text_of(json_array_get(json_object_get(result, "interfaces"), (size_t)ours), "mac");
    const char *own = text_of(actual, "mac");
    if (mac && *mac && own && strcasecmp(mac, own) != 0)
        return fail(failure, CNI_OWN, "%s has the MAC address %s instead of %s", name, own, mac);
    json_array_foreach(json_object_get(result, "ips"), index, each) {
        const char *address = text_of(each, "address");
        json_t *interface = json_object_get(each, "interface");
        if (!address || (interface && json_integer_value(interface) != ours))
            continue;
        if (!has(json_object_get(actual, "addresses"), address))
            return fail(failure, CNI_OWN, "%s has lost its address %s", name, address);
    }
    json_array_foreach(json_object_get(partition, "gateways"), index, each) {
        if (!has(json_object_get(actual, "gateways"), json_string_value(each)))
            return fail(failure, CNI_OWN, "%s has lost its default route by %s", name, json_string_value(each));
    }
    return true;
}

bool print_json(json_t *object) {
    char *line = json_dumps(object, JSON_COMPACT);
    return line && puts(line) >= 0 && fflush(stdout) == 0;
}

void print_failure(const char *version, const struct failure *failure) {
    json_t *error = json_pack("{s:s, s:i, s:s}", "cniVersion", version, "code", failure->code, "msg", failure->message);
    if (!error) /* somebody's words are no UTF-8 */
        error = json_pack("{s:s, s:i, s:s}", "cniVersion", "1.0.0", "code", failure->code, "msg", "it has failed");
    if (failure->details[0])
        json_object_set_new(error, "details", json_string(failure->details));
    print_json(error);
}
