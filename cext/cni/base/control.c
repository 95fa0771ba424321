/* Each request has a connection of its own: there are two or three of them, and nothing to keep between them. */
#include "base/control.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/text.h"

enum {
    MOST_REQUEST = 1 << 20, /* as the hosting daemon has it */
    MOST_ANSWER = 16 << 20, /* all partitions of a fabric take half a megabyte */
    CONNECT_PAUSE_MS = 10,
};

static const char DEFAULT_DIR[] = "/run/vnicd", DEFAULT_NETWORK[] = "default";

char *control_path(const char *runtime_dir, const char *network, struct failure *failure) {
    const char *root = runtime_dir ? runtime_dir : getenv("VNICD_RUNTIME_DIR");
    if (!root || !*root)
        root = DEFAULT_DIR;
    if (root[0] != '/') {
        fail(failure, CNI_BAD_CONFIG, "the runtime directory %s is no absolute path", root);
        return NULL;
    }
    char *path = strcmp(network, DEFAULT_NETWORK) == 0 ? text("%s/control.sock", root)
                                                       : text("%s/networks/%s/control.sock", root, network);
    if (strlen(path) < sizeof((struct sockaddr_un *)0)->sun_path)
        return path;
    fail(failure, CNI_BAD_CONFIG, "the path %s is too long for a socket", path);
    return NULL;
}

static bool not_there(struct failure *failure, const char *path) {
    return fail_as(failure, "not_running", text("no hosting daemon answers at %s", path),
                   "start it with: vnicctl up; or choose another one of: vnicctl network list");
}

static bool too_late(struct failure *failure, const char *method) {
    return fail_as(failure, "timeout", text("the hosting daemon did not answer %s in time", method),
                   "see: vnicctl doctor");
}

/* Waits while the hosting daemon's queue of connections is full, which a Unix socket says at once. */
static int connected(const char *path, const char *method, long deadline, struct failure *failure) {
    struct sockaddr_un place = {.sun_family = AF_UNIX};
    memcpy(place.sun_path, path, strlen(path) + 1);
    int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (sock < 0) {
        fail(failure, CNI_IO, "no socket can be had: %s", strerror(errno));
        return -1;
    }
    while (connect(sock, (struct sockaddr *)&place, sizeof place) < 0) {
        if (errno == EAGAIN && now_ms() < deadline)
            poll(NULL, 0, CONNECT_PAUSE_MS);
        else if (errno != EINTR) {
            if (errno == EAGAIN)
                too_late(failure, method);
            else if (errno == ENOENT || errno == ECONNREFUSED || errno == ENOTDIR)
                not_there(failure, path);
            else if (errno == EACCES || errno == EPERM)
                fail_as(failure, "not_permitted",
                        text("only root's runtime may attach containers, not a user's own: %s can't be opened", path),
                        "run them by root's runtime: sudo podman run");
            else
                fail(failure, CNI_IO, "%s can't be connected to: %s", path, strerror(errno));
            close(sock);
            return -1;
        }
    }
    return sock;
}

/* False with errno. An answer may be there already when a request was refused, so a broken pipe is none. */
static bool send_all(int sock, const char *line, size_t length, long deadline) {
    while (length) {
        ssize_t sent = send(sock, line, length, MSG_NOSIGNAL);
        if (sent >= 0) {
            line += sent;
            length -= (size_t)sent;
            continue;
        }
        struct pollfd ready = {.fd = sock, .events = POLLOUT};
        long left = deadline - now_ms();
        if (errno == EPIPE)
            return true;
        if (errno != EAGAIN && errno != EINTR)
            return false;
        if (left <= 0 || poll(&ready, 1, (int)left) == 0) {
            errno = ETIMEDOUT;
            return false;
        }
    }
    return true;
}

static json_t *unwrapped(const char *answer, struct failure *failure) {
    json_t *message = json_loads(answer, 0, NULL);
    json_t *error = json_object_get(message, "error"), *result = json_object_get(message, "result");
    if (result)
        return json_incref(result);
    const char *code = text_of(error, "code"), *words = text_of(error, "message"), *hint = text_of(error, "hint");
    if (code && words)
        fail_as(failure, code, words, hint ? hint : "");
    else
        fail(failure, CNI_IO, "the hosting daemon's answer makes no sense");
    return NULL;
}

json_t *control_call(const char *path, const char *method, json_t *params, int timeout_ms, struct failure *failure) {
    long deadline = now_ms() + timeout_ms;
    char *request = json_dumps(json_pack("{s:i, s:s, s:o}", "id", 1, "method", method, "params", params), JSON_COMPACT);
    if (!request) {
        fail(failure, CNI_BAD_CONFIG, "what is asked for can't be written as JSON");
        return NULL;
    }
    request = text("%s\n", request);
    if (strlen(request) > MOST_REQUEST) {
        fail(failure, CNI_BAD_CONFIG, "what is asked for is too long: %zu bytes", strlen(request));
        return NULL;
    }
    int sock = connected(path, method, deadline, failure);
    if (sock < 0)
        return NULL;
    char *answer = NULL;
    /* With our sending side closed, its answer is the last thing that it sends. */
    if (send_all(sock, request, strlen(request), deadline) && shutdown(sock, SHUT_WR) == 0)
        answer = read_all(sock, MOST_ANSWER, deadline);
    int error = errno;
    close(sock);
    if (answer && *answer)
        return unwrapped(answer, failure);
    if (answer || error == ECONNRESET || error == ENOTCONN)
        not_there(failure, path);
    else if (error == ETIMEDOUT)
        too_late(failure, method);
    else
        fail(failure, CNI_IO, "the hosting daemon can't be asked: %s", strerror(error));
    return NULL;
}
