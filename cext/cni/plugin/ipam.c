/* The IPAM plugin gets our own environment and standard input, as the specification has it. */
#include "plugin/ipam.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/text.h"

enum {
    TIMEOUT_MS = 60000, /* a DHCP server may be slow */
    MOST_OUTPUT = 1 << 20,
};

bool ipam_needs_interface(const struct config *config) {
    return config->ipam && strcmp(config->ipam, "dhcp") == 0;
}

static const char *find(const struct config *config, const struct environment *environment) {
    char *rest = text("%s", environment->path ? environment->path : "");
    for (char *folder; (folder = strsep(&rest, ":"));) {
        char *program = text("%s/%s", folder, config->ipam);
        if (*folder && access(program, X_OK) == 0)
            return program;
    }
    return NULL;
}

/* A file that is in no folder, with the input at its beginning: a pipe could fill up, and its reader might not read. */
static int input_file(const char *input) {
    int fd = memfd_create("stdin", MFD_CLOEXEC);
    size_t length = strlen(input);
    if (fd >= 0 && (write(fd, input, length) != (ssize_t)length || lseek(fd, 0, SEEK_SET) < 0)) {
        close(fd);
        return -1;
    }
    return fd;
}

static _Noreturn void become(const char *program, const char *command, const struct environment *environment, int input,
                             int output, pid_t parent) {
    /* Who has killed us asks for DEL next: what goes on after that would never be released. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(127); /* that was too late to be told */
    signal(SIGPIPE, SIG_DFL);
    setenv("CNI_COMMAND", command, 1);
    setenv("CNI_CONTAINERID", environment->container ? environment->container : "", 1);
    setenv("CNI_IFNAME", environment->ifname ? environment->ifname : "", 1);
    setenv("CNI_NETNS", environment->netns ? environment->netns : "", 1);
    if (dup2(input, 0) == 0 && dup2(output, 1) == 1)
        execl(program, program, (char *)NULL);
    _exit(127);
}

/* What it has printed, and its exit status; NULL when it could not be run. */
static char *run(const char *program, const char *command, const struct environment *environment, const char *input,
                 int *status, struct failure *failure) {
    int ends[2] = {-1, -1}, file = input_file(input);
    pid_t parent = getpid(), child = file >= 0 && pipe2(ends, O_CLOEXEC) == 0 ? fork() : -1;
    if (child == 0)
        become(program, command, environment, file, ends[1], parent);
    int error = errno;
    close(file);
    close(ends[1]);
    if (child < 0) {
        close(ends[0]);
        fail(failure, CNI_IO, "%s can't be run: %s", program, strerror(error));
        return NULL;
    }
    char *output = read_all(ends[0], MOST_OUTPUT, now_ms() + TIMEOUT_MS);
    error = errno;
    close(ends[0]);
    if (!output)
        kill(child, SIGKILL);
    while (waitpid(child, status, 0) < 0 && errno == EINTR)
        ;
    if (!output)
        fail(failure, error == ETIMEDOUT ? CNI_TRY_LATER : CNI_IO, "%s did not answer: %s", program, strerror(error));
    return output;
}

/* Its own error, as it has told it. */
static bool pass_on(const char *program, const char *output, int status, struct failure *failure) {
    json_t *error = json_loads(output, 0, NULL);
    const char *message = text_of(error, "msg"), *details = text_of(error, "details");
    int code = (int)json_integer_value(json_object_get(error, "code"));
    if (!message)
        return fail(failure, CNI_IO, "%s ended with %d and without a word", program,
                    WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
    fail(failure, code > 0 ? code : CNI_IO, "%s: %s", program, message);
    snprintf(failure->details, sizeof failure->details, "%s", details ? details : "");
    return false;
}

/* The same configuration in the version before 1.1, which differs in nothing that an IPAM plugin reads or says. */
static const char *older(const struct config *config) {
    json_t *copy = json_copy(config->root);
    json_object_set_new(copy, "cniVersion", json_string("1.0.0"));
    return json_dumps(copy, JSON_COMPACT);
}

bool ipam_run(const struct config *config, const struct environment *environment, const char *command, json_t **result,
              struct failure *failure) {
    if (!config->ipam)
        return true;
    const char *program = find(config, environment);
    if (!program)
        return fail(failure, CNI_BAD_CONFIG, "there is no IPAM plugin %s in the folders of CNI_PATH", config->ipam);
    bool is_new = strcmp(command, "GC") == 0 || strcmp(command, "STATUS") == 0;
    int status = 0;
    char *output = run(program, command, environment, config->input, &status, failure);
    if (!output)
        return false;
    if (status && !pass_on(program, output, status, failure)) {
        if (failure->code != CNI_BAD_VERSION || config->version < VERSION_1_1)
            return false;
        if (is_new)
            return true; /* it knows neither, as CNI 1.1 has brought both */
        output = run(program, command, environment, older(config), &status, failure);
        if (!output || (status && !pass_on(program, output, status, failure)))
            return false;
    }
    if (!result)
        return true;
    *result = json_loads(output, 0, NULL);
    return json_is_object(*result) || fail(failure, CNI_DECODE, "the answer of %s can't be read", program);
}
