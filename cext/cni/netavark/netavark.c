/* A network of podman's is one of vnicd: that which the option "network" names, or else the one of its own name, which
 * `create` makes. podman chooses the addresses. Names and published ports, which netavark makes for its own networks
 * only, are vnicd's here. An error is an object with one text on standard output.
 */
#include "netavark/netavark.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/control.h"
#include "base/text.h"
#include "plugin/attachment.h"
#include "plugin/result.h"

enum {
    MOST_INPUT = 4 << 20,
    INPUT_TIMEOUT_MS = 10000,
    CREATE_TIMEOUT_MS = 60000,
};

struct request {
    json_t *input;
    json_t *network;
    json_t *options; /* of this container in this network */
    const char *netns;
    const char *name; /* of the network, to podman */
    const char *control;
    const char *container;
    const char *ifname;
};

static const char *option(const json_t *network, const char *key) {
    return text_of(json_object_get(network, "options"), key);
}

/* The network of vnicd. */
static const char *network_of(const json_t *network) {
    const char *chosen = option(network, "network");
    return chosen ? chosen : text_of(network, "name");
}

static bool read_network(struct request *request, json_t *network, struct failure *failure) {
    request->network = network;
    request->name = text_of(network, "name");
    const char *own = network_of(network);
    if (!request->name || !own || !is_word(own, "_.-"))
        return fail(failure, 1, "the network has no valid name");
    request->control = control_path(option(network, "runtimeDir"), own, failure);
    return request->control != NULL;
}

static bool read_container(struct request *request, const char *netns, struct failure *failure) {
    request->netns = netns;
    request->options = json_object_get(request->input, "network_options");
    request->container = text_of(request->input, "container_id");
    request->ifname = text_of(request->options, "interface_name");
    if (!request->container || !request->ifname || !netns)
        return fail(failure, 1, "netavark names no container, interface or namespace");
    return read_network(request, json_object_get(request->input, "network"), failure);
}

/* ------------------------------------------------------------------------------------------------------ create */

/* vnicctl of the installation that this program belongs to, or the one in PATH. */
static const char *vnicctl(void) {
    char own[4096];
    ssize_t length = readlink("/proc/self/exe", own, sizeof own - 1);
    for (int level = 0; length > 0 && level < 2; level++) { /* /opt/vnicd/libexec/vnicd-cni */
        own[length] = '\0';
        char *slash = strrchr(own, '/');
        length = slash ? slash - own : 0;
    }
    own[length > 0 ? length : 0] = '\0';
    const char *program = text("%s/bin/vnicctl", own);
    return access(program, X_OK) == 0 ? program : "vnicctl";
}

static size_t add_words(const char **words, size_t count, const char *key, const char *value) {
    words[count++] = key;
    words[count++] = value;
    return count;
}

static bool run_vnicctl(const char **words, struct failure *failure) {
    int ends[2], status = 0;
    pid_t child = pipe2(ends, O_CLOEXEC) == 0 ? fork() : -1;
    if (child == 0) {
        signal(SIGPIPE, SIG_DFL);
        if (dup2(ends[1], 1) == 1 && dup2(ends[1], 2) == 2)
            execvp(words[0], (char *const *)words);
        _exit(127);
    }
    if (child < 0)
        return fail(failure, 1, "vnicctl can't be run: %s", strerror(errno));
    close(ends[1]);
    char *output = read_all(ends[0], MOST_INPUT, now_ms() + CREATE_TIMEOUT_MS);
    close(ends[0]);
    if (!output)
        kill(child, SIGKILL);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    if (output && WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return true;
    if (output && WIFEXITED(status) && WEXITSTATUS(status) == 127)
        return fail(failure, 1, "there is no vnicctl in PATH, which makes the network");
    if (output)
        output[strcspn(output, "\n")] = '\0';
    return fail(failure, 1, "the network can't be made: %s",
                output && *output ? output : "vnicctl did not end in time");
}

static bool make_network(const json_t *network, const char *name, struct failure *failure) {
    enum { MOST_SUBNETS = 8 };
    const char *words[8 + 4 * MOST_SUBNETS + 6] = {vnicctl(), "network", "add", name};
    const char *uplink = option(network, "uplink"), *nic = option(network, "nic");
    size_t count = 4, index;
    json_t *each;
    if (!uplink)
        uplink = json_is_true(json_object_get(network, "internal")) ? "internal" : "nat";
    count = add_words(words, count, "--uplink", uplink);
    if (nic)
        count = add_words(words, count, "--nic", nic);
    json_array_foreach(json_object_get(network, "subnets"), index, each) {
        const char *subnet = text_of(each, "subnet"), *gateway = text_of(each, "gateway");
        if (!subnet || index >= MOST_SUBNETS)
            return fail(failure, 1, "the network has subnets that can't be used");
        count = add_words(words, count, "--subnet", subnet);
        if (gateway && strcmp(uplink, "internal") != 0)
            count = add_words(words, count, "--gateway", gateway);
    }
    words[count] = NULL;
    return run_vnicctl(words, failure);
}

/* A network that is there already is taken: podman forgets its networks without a word. */
static bool create(struct request *request, struct failure *failure) {
    struct failure ignored;
    if (!read_network(request, request->input, failure))
        return false;
    if (!control_call(request->control, "fabric.ping", json_object(), READ_TIMEOUT_MS, &ignored)) {
        if (option(request->network, "network"))
            return fail(failure, 1, "%s", ignored.message);
        if (!make_network(request->network, request->name, failure))
            return false;
    }
    return print_json(request->input);
}

/* ------------------------------------------------------------------------------------------------ setup, teardown */

/* The length of the subnet that an address is in is not told with it. */
static const char *length_of(const json_t *network, const char *ip) {
    json_t *each;
    size_t index;
    const char *found = NULL;
    json_array_foreach(json_object_get(network, "subnets"), index, each) {
        const char *subnet = text_of(each, "subnet"), *slash = subnet ? strchr(subnet, '/') : NULL;
        if (slash && (strchr(subnet, ':') != NULL) == (strchr(ip, ':') != NULL))
            found = slash;
    }
    return found;
}

static json_t *addresses_of(const struct request *request) {
    json_t *addresses = json_array(), *each;
    size_t index;
    json_array_foreach(json_object_get(request->options, "static_ips"), index, each) {
        const char *ip = json_string_value(each), *length = ip ? length_of(request->network, ip) : NULL;
        if (ip)
            json_array_append_new(addresses, json_string(text("%s%s", ip, length ? length : "")));
    }
    return addresses;
}

static json_t *gateways_of(const struct request *request) {
    json_t *gateways = json_array(), *each;
    size_t index;
    if (json_is_true(json_object_get(request->network, "internal")))
        return gateways;
    json_array_foreach(json_object_get(request->network, "subnets"), index, each) {
        if (text_of(each, "gateway"))
            json_array_append(gateways, json_object_get(each, "gateway"));
    }
    return gateways;
}

static json_t *names_of(const struct request *request) {
    enum { MOST_ALIASES = 16, LONGEST = 63 };
    json_t *names = json_array(), *each;
    size_t index;
    const char *own = text_of(request->input, "container_name");
    if (own && is_word(own, "._-") && strlen(own) <= LONGEST)
        json_array_append_new(names, json_string(own));
    json_array_foreach(json_object_get(request->options, "aliases"), index, each) {
        const char *name = json_string_value(each);
        if (name && is_word(name, "._-") && strlen(name) <= LONGEST && json_array_size(names) < MOST_ALIASES)
            json_array_append_new(names, json_string(name));
    }
    return names;
}

static json_t *params_of(const struct request *request) {
    json_t *owner = attachment_owner(request->name, request->container, request->ifname);
    json_t *addresses = addresses_of(request), *gateways = gateways_of(request);
    const char *mac = text_of(request->options, "static_mac"), *mtu = option(request->network, "mtu");
    const char *name = text_of(request->input, "container_name");
    json_t *params =
        json_pack("{s:o, s:s, s:s, s:o, s:o}", "name",
                  json_string(attachment_name(request->name, request->container, request->ifname)), "netns",
                  request->netns, "ifname", request->ifname, "owner", owner, "aliases", names_of(request));
    if (name)
        json_object_set_new(owner, OWNER_NAME, json_string(name));
    if (json_array_size(addresses)) {
        json_object_set(params, "addresses", addresses);
        json_object_set(params, "gateways", gateways);
    }
    if (mac && *mac)
        json_object_set_new(params, "mac", json_string(mac));
    if (mtu)
        json_object_set_new(params, "mtu", json_integer(atol(mtu)));
    return params;
}

/* podman's mappings, of which each may be a range of ports and several protocols, as CNI has them. */
static json_t *mappings_of(const struct request *request) {
    json_t *mappings = json_array(), *each;
    size_t index;
    json_array_foreach(json_object_get(request->input, "port_mappings"), index, each) {
        json_int_t outer = json_integer_value(json_object_get(each, "host_port"));
        json_int_t inner = json_integer_value(json_object_get(each, "container_port"));
        json_int_t range = json_integer_value(json_object_get(each, "range"));
        const char *ip = text_of(each, "host_ip"), *protocols = text_of(each, "protocol");
        char *rest = text("%s", protocols && *protocols ? protocols : "tcp");
        for (char *protocol; (protocol = strsep(&rest, ","));)
            for (json_int_t i = 0; i < (range > 1 ? range : 1) && i < 65536; i++)
                json_array_append_new(mappings,
                                      json_pack("{s:I, s:I, s:s, s:s}", "hostPort", outer + i, "containerPort",
                                                inner + i, "protocol", protocol, "hostIP", ip ? ip : ""));
    }
    return mappings;
}

static bool remove_partition(const struct request *request, struct failure *failure) {
    char *name = attachment_name(request->name, request->container, request->ifname);
    json_t *owner = attachment_owner(request->name, request->container, request->ifname);
    return attachment_remove(request->control, name, owner, failure);
}

static json_t *status_of(const struct request *request, const json_t *partition) {
    json_t *subnets = json_array(), *interface = json_object(), *dns = json_object_get(partition, "dns"), *each;
    size_t index;
    json_array_foreach(json_object_get(partition, "addresses"), index, each) {
        json_t *subnet = json_pack("{s:O}", "ipnet", each), *gateway;
        size_t other;
        json_array_foreach(json_object_get(partition, "gateways"), other, gateway) {
            if ((strchr(json_string_value(gateway), ':') != NULL) == (strchr(json_string_value(each), ':') != NULL))
                json_object_set(subnet, "gateway", gateway);
        }
        json_array_append_new(subnets, subnet);
    }
    json_object_set(interface, "mac_address", json_object_get(partition, "mac"));
    json_object_set_new(interface, "subnets", subnets);
    json_t *servers = json_object_get(dns, "nameservers"), *search = json_object_get(dns, "search");
    bool named = json_is_true(json_object_get(request->network, "dns_enabled")) && servers;
    return json_pack("{s:o, s:o, s:{s:o}}", "dns_server_ips", named ? json_incref(servers) : json_array(),
                     "dns_search_domains", named && search ? json_incref(search) : json_array(), "interfaces",
                     request->ifname, interface);
}

/* podman listens at published ports itself, to keep them from other programs. */
static bool setup(struct request *request, struct failure *failure) {
    json_t *partition = control_call(request->control, "partition.add", params_of(request), CHANGE_TIMEOUT_MS, failure);
    if (!partition)
        return false;
    json_t *ports = attachment_ports(mappings_of(request), text_of(partition, "name"), failure);
    bool is_done =
        ports && (json_array_size(ports) == 0 ||
                  control_call(request->control, "publish.add", json_pack("{s:O, s:b}", "publish", ports, "held", 1),
                               CHANGE_TIMEOUT_MS, failure));
    struct failure ignored;
    if (is_done && !print_json(status_of(request, partition)))
        is_done = fail(failure, CNI_IO, "the result can't be written");
    if (!is_done)
        remove_partition(request, &ignored);
    return is_done;
}

/* Also called when the namespace is gone. Without a hosting daemon there is nothing to reach. */
static bool teardown(struct request *request, struct failure *failure) {
    return remove_partition(request, failure) || is_kind(failure, "not_running");
}

static bool run(const char *command, const char *netns, struct failure *failure) {
    struct request request = {0};
    if (strcmp(command, "info") == 0)
        return print_json(json_pack("{s:s, s:s}", "version", "1", "api_version", "1.0.0"));
    bool is_setup = strcmp(command, "setup") == 0;
    if (strcmp(command, "create") != 0 && !is_setup && strcmp(command, "teardown") != 0)
        return fail(failure, 1, "netavark's plugins have no command %s", command);
    char *input = read_all(STDIN_FILENO, MOST_INPUT, now_ms() + INPUT_TIMEOUT_MS);
    request.input = input ? json_loads(input, 0, NULL) : NULL;
    if (!json_is_object(request.input))
        return fail(failure, 1, "standard input has no JSON object");
    if (strcmp(command, "create") == 0)
        return create(&request, failure);
    return read_container(&request, netns, failure) &&
           (is_setup ? setup(&request, failure) : teardown(&request, failure));
}

int netavark(int count, char **words) {
    struct failure failure;
    if (run(words[0], count > 1 ? words[1] : NULL, &failure))
        return 0;
    const char *hint = failure.details;
    json_t *error = json_string(text("%s%s%s", failure.message, *hint ? "; " : "", hint));
    print_json(json_pack("{s:o}", "error", error ? error : json_string("it has failed"))); /* they are no UTF-8 */
    return 1;
}
