/* Reads the environment. What is wrong with it is told by the name of the variable. */
#include "plugin/environment.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

enum { IFNAME_MOST = 15 };

static const char *given(const char *name) {
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

static bool must_have(const char *name, const char *value, struct failure *failure) {
    return value || fail(failure, CNI_BAD_ENVIRONMENT, "%s is not set", name);
}

/* Else it could be told to nobody: JSON is UTF-8. */
static bool is_text(const char *name, const char *value, struct failure *failure) {
    json_t *word = value ? json_string(value) : json_null();
    return word || fail(failure, CNI_BAD_ENVIRONMENT, "%s is no text in UTF-8", name);
}

static bool is_ifname(const char *name) {
    size_t length = strcspn(name, "/: \t\n\v\f\r");
    return !name[length] && length <= IFNAME_MOST && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

/* KEY=VALUE;KEY=VALUE. Runtimes set keys for plugins of all kinds, so those that are not known mean nothing. */
static bool read_args(struct environment *environment, struct failure *failure) {
    const struct {
        const char *key;
        const char **value;
    } known[] = {
        {"IP", &environment->ip},
        {"MAC", &environment->mac},
        {"K8S_POD_NAME", &environment->pod},
        {"K8S_POD_NAMESPACE", &environment->pod_namespace},
    };
    const char *args = given("CNI_ARGS");
    char *rest = args ? text("%s", args) : NULL;
    for (char *pair; (pair = strsep(&rest, ";"));) {
        char *sign = strchr(pair, '=');
        if (!*pair)
            continue;
        if (!sign)
            return fail(failure, CNI_BAD_ENVIRONMENT, "CNI_ARGS has %s, which is not KEY=VALUE", pair);
        *sign = '\0';
        for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
            if (strcmp(pair, known[i].key) == 0 && sign[1])
                *known[i].value = sign + 1;
    }
    return true;
}

bool environment_read(struct environment *environment, struct failure *failure) {
    *environment = (struct environment){
        .command = given("CNI_COMMAND"),
        .container = given("CNI_CONTAINERID"),
        .netns = given("CNI_NETNS"),
        .ifname = given("CNI_IFNAME"),
        .path = given("CNI_PATH"),
    };
    const char *command = environment->command;
    if (!must_have("CNI_COMMAND", command, failure) || !is_text("CNI_COMMAND", command, failure) ||
        !is_text("CNI_CONTAINERID", environment->container, failure) ||
        !is_text("CNI_NETNS", environment->netns, failure) || !is_text("CNI_IFNAME", environment->ifname, failure) ||
        !is_text("CNI_ARGS", given("CNI_ARGS"), failure))
        return false;
    bool is_add = strcmp(command, "ADD") == 0 || strcmp(command, "CHECK") == 0;
    if (is_add || strcmp(command, "DEL") == 0) {
        if (!must_have("CNI_CONTAINERID", environment->container, failure) ||
            !must_have("CNI_IFNAME", environment->ifname, failure) ||
            (is_add && !must_have("CNI_NETNS", environment->netns, failure)))
            return false;
        if (!is_word(environment->container, "_.-"))
            return fail(failure, CNI_BAD_ENVIRONMENT, "CNI_CONTAINERID is %s, which is no container's id",
                        environment->container);
        if (!is_ifname(environment->ifname))
            return fail(failure, CNI_BAD_ENVIRONMENT, "CNI_IFNAME is %s, which is no interface's name",
                        environment->ifname);
        if (environment->netns && environment->netns[0] != '/')
            return fail(failure, CNI_BAD_ENVIRONMENT, "CNI_NETNS is %s, which is no absolute path", environment->netns);
    }
    return read_args(environment, failure);
}
