/* vnicd-cni: attaches containers to a fabric, for runtimes that call CNI plugins, and for netavark.
 *
 * It is in C, as it runs at each start of a container. It reads what is asked for, has the hosting daemon do it, and
 * prints what came of it. It keeps no state: the hosting daemon alone knows which attachments there are.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"
#include "netavark/netavark.h"
#include "plugin/commands.h"
#include "plugin/config.h"
#include "plugin/environment.h"
#include "plugin/result.h"

enum {
    MOST_INPUT = 4 << 20,
    INPUT_TIMEOUT_MS = 10000,
};

static bool tell_versions(const char *asked) {
    json_t *known = json_array();
    for (const char *const *each = VERSIONS; *each; each++)
        json_array_append_new(known, json_string(*each));
    return print_json(json_pack("{s:s, s:o}", "cniVersion", asked, "supportedVersions", known));
}

static bool run(const struct environment *environment, const char *input, struct failure *failure) {
    struct config config;
    const struct command *command = command_named(environment->command);
    if (!command)
        return fail(failure, CNI_BAD_ENVIRONMENT, "CNI_COMMAND is %s, which is no command", environment->command);
    if (!config_read(&config, input, failure))
        return false;
    if (config.version < command->since)
        return fail(failure, CNI_BAD_VERSION, "CNI %s has no %s", config.version_name, command->name);
    return command->run(&config, environment, failure);
}

static int cni(void) {
    struct failure failure;
    struct environment environment;
    char *input = read_all(STDIN_FILENO, MOST_INPUT, now_ms() + INPUT_TIMEOUT_MS);
    const char *version = input ? config_version(input) : "1.1.0";
    bool is_done;
    if (!input)
        is_done = fail(&failure, CNI_IO, "the configuration can't be read from standard input");
    else if (!environment_read(&environment, &failure))
        is_done = false;
    else if (strcmp(environment.command, "VERSION") == 0)
        is_done = tell_versions(version);
    else
        is_done = run(&environment, input, &failure);
    if (!is_done)
        print_failure(version, &failure);
    return is_done ? 0 : 1;
}

int main(int count, char **words) {
    signal(SIGPIPE, SIG_IGN);
    if (count > 1)
        return netavark(count - 1, words + 1);
    return cni();
}
