/* From what a runtime asks for to the parameters of the control protocol. */
#include "plugin/attachment.h"

#include <ctype.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>

#include "base/control.h"
#include "base/text.h"

enum { NAME_OF_CONTAINER = 12, MOST_ALIASES = 16, LONGEST_ALIAS = 63, BUSY_PAUSE_MS = 50 };

/* "As fast as can be", where one direction is limited and the other is not: the fabric's highest rate. */
static const json_int_t NO_LIMIT = 1000000000000;

static uint64_t hash(uint64_t sum, const char *word) {
    do
        sum = (sum ^ (unsigned char)*word) * 0x100000001b3; /* FNV-1a */
    while (*word++);
    return sum;
}

char *attachment_name(const char *network, const char *container, const char *ifname) {
    uint64_t sum = hash(hash(hash(0xcbf29ce484222325, network), container), ifname);
    return text("%.*s-%016llx", NAME_OF_CONTAINER, container, (unsigned long long)sum);
}

json_t *attachment_owner(const char *network, const char *container, const char *ifname) {
    return json_pack("{s:s, s:s, s:s}", OWNER_NETWORK, network, OWNER_CONTAINER, container, OWNER_INTERFACE, ifname);
}

/* What is just being added is waited for: a runtime that was killed in ADD asks for DEL, and the addition goes on. */
bool attachment_remove(const char *control, const char *name, json_t *owner, struct failure *failure) {
    long deadline = now_ms() + CHANGE_TIMEOUT_MS;
    for (;;) {
        json_t *params = json_pack("{s:s, s:O}", "name", name, "owner", owner);
        if (control_call(control, "partition.remove", params, CHANGE_TIMEOUT_MS, failure) ||
            is_kind(failure, "not_found"))
            return true;
        if (!is_kind(failure, "busy") || now_ms() >= deadline)
            return false;
        poll(NULL, 0, BUSY_PAUSE_MS);
    }
}

/* Keys without regard to case: containerd 1.6 writes them as Go does. */
static bool take_bandwidth(json_t *params, const json_t *limits, struct failure *failure) {
    json_t *in = any_case(limits, "ingressRate"), *out = any_case(limits, "egressRate");
    if ((in && !json_is_integer(in)) || (out && !json_is_integer(out)))
        return fail(failure, CNI_BAD_CONFIG, "a rate of bandwidth is no whole number of bits per second");
    json_int_t in_bits = json_integer_value(in), out_bits = json_integer_value(out);
    if (out_bits > 0)
        json_object_set_new(params, "rate", json_integer(out_bits < NO_LIMIT ? out_bits : NO_LIMIT));
    if (in_bits > 0 || out_bits > 0)
        json_object_set_new(params, "rate_in", json_integer(in_bits > 0 && in_bits < NO_LIMIT ? in_bits : NO_LIMIT));
    return true;
}

static void add_alias(json_t *aliases, const char *name) {
    if (name && is_word(name, "._-") && strlen(name) <= LONGEST_ALIAS && json_array_size(aliases) < MOST_ALIASES)
        json_array_append_new(aliases, json_string(name));
}

/* Names that the container is found by: its own, which podman gives as its pod's, and the capability's. */
static void take_names(json_t *params, const struct config *config, const struct environment *environment) {
    json_t *aliases = json_array(), *asked = json_object_get(config->runtime, "aliases"), *each;
    size_t index;
    add_alias(aliases, environment->pod);
    if (json_is_object(asked))
        asked = json_object_get(asked, config->name);
    json_array_foreach(asked, index, each) {
        add_alias(aliases, json_string_value(each));
    }
    json_object_set_new(params, "aliases", aliases);
}

json_t *attachment_params(const struct config *config, const struct environment *environment, struct failure *failure) {
    const char *name = config->name, *container = environment->container, *ifname = environment->ifname;
    json_t *owner = attachment_owner(name, container, ifname), *mtu = json_object_get(config->root, "mtu");
    const char *mac = config_mac(config, environment);
    if (environment->pod)
        json_object_set_new(owner, OWNER_NAME, json_string(environment->pod));
    if (environment->pod_namespace)
        json_object_set_new(owner, "cni/namespace", json_string(environment->pod_namespace));
    json_t *params = json_pack("{s:o, s:s, s:s, s:o}", "name", json_string(attachment_name(name, container, ifname)),
                               "netns", environment->netns, "ifname", ifname, "owner", owner);
    if (mac)
        json_object_set_new(params, "mac", json_string(mac));
    if (mtu && json_integer_value(mtu) != 0)
        json_object_set(params, "mtu", mtu);
    take_names(params, config, environment);
    if (!take_bandwidth(params, any_case(config->runtime, "bandwidth"), failure))
        return NULL;
    if (config->ipam)
        return params;
    json_t *ips = config_ips(config, environment, failure);
    if (ips && json_array_size(ips))
        json_object_set(params, "addresses", ips);
    return ips ? params : NULL;
}

static bool is_default(const char *destination) {
    return strcmp(destination, "0.0.0.0/0") == 0 || strcmp(destination, "::/0") == 0;
}

static int family(const char *address) {
    return strchr(address, ':') ? 6 : 4;
}

/* The gateway of the first address of a route's family. */
static const char *gateway_for(const json_t *ips, const char *destination) {
    json_t *each;
    size_t index;
    json_array_foreach((json_t *)ips, index, each) {
        const char *address = text_of(each, "address"), *gateway = text_of(each, "gateway");
        if (address && gateway && *gateway && family(address) == family(destination))
            return gateway;
    }
    return NULL;
}

bool attachment_take_ips(json_t *params, const json_t *given, struct failure *failure) {
    json_t *ips = json_object_get(given, "ips"), *each;
    json_t *addresses = json_array(), *gateways = json_array(), *routes = json_array();
    size_t index;
    json_array_foreach(ips, index, each) {
        if (!text_of(each, "address"))
            return fail(failure, CNI_DECODE, "the IPAM plugin has given something that is no address");
        json_array_append(addresses, json_object_get(each, "address"));
    }
    if (json_array_size(addresses) == 0)
        return fail(failure, CNI_DECODE, "the IPAM plugin has given no address");
    json_array_foreach(json_object_get(given, "routes"), index, each) {
        const char *destination = text_of(each, "dst"), *gateway = text_of(each, "gw");
        if (!destination)
            return fail(failure, CNI_DECODE, "the IPAM plugin has given something that is no route");
        if (!gateway || !*gateway)
            gateway = gateway_for(ips, destination);
        if (!gateway)
            json_array_append_new(routes, json_string(destination));
        else if (is_default(destination))
            json_array_append_new(gateways, json_string(gateway));
        else
            json_array_append_new(routes, json_string(text("%s via %s", destination, gateway)));
    }
    json_object_set_new(params, "addresses", addresses);
    json_object_set_new(params, "gateways", gateways);
    json_object_set_new(params, "routes", routes);
    return true;
}

static bool is_any(const char *ip) {
    return !ip || !*ip || strcmp(ip, "0.0.0.0") == 0 || strcmp(ip, "::") == 0;
}

static char *lower(const char *word) {
    char *made = text("%s", word);
    for (char *at = made; *at; at++)
        *at = (char)tolower((unsigned char)*at);
    return made;
}

json_t *attachment_ports(const json_t *mappings, const char *name, struct failure *failure) {
    json_t *ports = json_array(), *each;
    size_t index;
    json_array_foreach((json_t *)mappings, index, each) {
        const json_t *asked = any_case(each, "hostPort");
        json_int_t outer = json_integer_value(asked);
        json_int_t inner = json_integer_value(any_case(each, "containerPort"));
        const char *protocol = json_string_value(any_case(each, "protocol"));
        const char *ip = json_string_value(any_case(each, "hostIP"));
        protocol = lower(protocol && *protocol ? protocol : "tcp");
        if (outer == 0 && (!asked || json_is_integer(asked)) && json_is_object(each))
            continue; /* it is not to be seen outside */
        if (outer < 1 || outer > 65535 || inner < 1 || inner > 65535) {
            fail(failure, CNI_BAD_CONFIG, "portMappings has ports that are none");
            return NULL;
        }
        if (strcmp(protocol, "tcp") != 0 && strcmp(protocol, "udp") != 0) {
            fail(failure, CNI_BAD_CONFIG, "port %d can't be published: its protocol is %s, neither tcp nor udp",
                 (int)outer, protocol);
            return NULL;
        }
        const char *place = is_any(ip) ? "" : strchr(ip, ':') ? text("[%s]:", ip) : text("%s:", ip);
        json_array_append_new(ports, json_string(text("%s%d:%s:%d/%s", place, (int)outer, name, (int)inner, protocol)));
    }
    return ports;
}
