/* Relays: a process of its own that stands between a direct connection and somebody without a provider.
 *
 * Another image of the program (exec), or another process (SCM_RIGHTS), gets a plain Unix stream socket. Its name
 * tells a provider which TCP addresses to answer with. The relay process is nobody's child that the program could
 * hear of: it has no exit signal, its parent ends at once, and it holds no descriptor but the three that it needs.
 */
#include "relay/relay.h"
#include "parts.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define NAME "vnicd-relay/"

/* ---------------------------------------------------------------------------------------------- the name */

static int put_address(char *text, const struct vn_address *address) {
    int bytes = address->family == AF_INET ? 4 : 16, length = 0;
    for (int i = 0; i < bytes; i++)
        length += sprintf(text + length, "%02x", address->ip[i]);
    return length + sprintf(text + length, ":%04x/", address->port);
}

static const char *get_address(const char *text, struct vn_address *address) {
    const char *colon = strchr(text, ':');
    unsigned value;
    int used;
    memset(address, 0, sizeof(*address));
    if (colon == NULL || (colon - text != 8 && colon - text != 32))
        return NULL;
    address->family = colon - text == 8 ? AF_INET : AF_INET6;
    for (int i = 0; text < colon; text += 2, i++) {
        if (sscanf(text, "%2x", &value) != 1)
            return NULL;
        address->ip[i] = (uint8_t)value;
    }
    if (sscanf(colon, ":%4x/%n", &value, &used) != 1 || colon[used - 1] != '/')
        return NULL;
    address->port = (uint16_t)value;
    return colon + used;
}

/* At most 105 characters: an abstract name has room for 107. A scope belongs to both ends. */
static void give_name(int end, const struct vn_half *half) {
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    for (int tries = 0; tries < 4; tries++) {
        char text[160];
        uint32_t random = 0;
        int length = sprintf(text, NAME);
        if (getrandom(&random, sizeof(random), GRND_NONBLOCK) < 0)
            random = (uint32_t)now_ns();
        length += put_address(text + length, &half->local);
        length += put_address(text + length, &half->remote);
        length += sprintf(text + length, "%" PRIx32 "/%08" PRIx32, half->local.scope, random);
        memcpy(name.sun_path + 1, text, (size_t)length);
        if (bind(end, (struct sockaddr *)&name, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length)) == 0)
            return;
    }   /* without a name the bytes flow all the same */
}

bool relay_names(int fd, struct vn_address *local, struct vn_address *remote) {
    struct sockaddr_un name;
    socklen_t room = sizeof(name);
    char text[sizeof(name.sun_path) + 1];
    const char *rest;
    unsigned scope = 0;
    if (real_getsockname(fd, (struct sockaddr *)&name, &room) != 0 || name.sun_family != AF_UNIX)
        return false;
    if (room <= offsetof(struct sockaddr_un, sun_path) + 1 || room > sizeof(name) || name.sun_path[0] != '\0')
        return false;
    size_t length = room - offsetof(struct sockaddr_un, sun_path) - 1;
    memcpy(text, name.sun_path + 1, length);
    text[length] = '\0';
    if (strncmp(text, NAME, strlen(NAME)) != 0 || (rest = get_address(text + strlen(NAME), local)) == NULL ||
        (rest = get_address(rest, remote)) == NULL || sscanf(rest, "%x/", &scope) != 1)
        return false;
    local->scope = remote->scope = scope;
    return true;
}

/* ------------------------------------------------------------------------------------------- the process */

/* Not fork: that would run the program's handlers, and tell it of a child that it did not make. */
static pid_t clone_silent(void) {
    return (pid_t)syscall(SYS_clone, 0L, 0L, 0L, 0L, 0L);
}

static void keep_only(int a, int b, int c) {
    int keep[3] = {a, b, c};
    unsigned from = 0;
    for (int i = 0; i < 3; i++)
        for (int j = i + 1; j < 3; j++)
            if (keep[j] < keep[i]) {
                int swap = keep[i];
                keep[i] = keep[j];
                keep[j] = swap;
            }
    for (int i = 0; i < 3; i++) {
        if (keep[i] < 0)
            continue;
        if ((unsigned)keep[i] > from)
            syscall(SYS_close_range, from, (unsigned)keep[i] - 1, 0);
        from = (unsigned)keep[i] + 1;
    }
    syscall(SYS_close_range, from, ~0u, 0);
}

static void detach(struct conn *conn, int fd, int end) {
    setsid();
    if (chdir("/") != 0) {
        /* then it keeps a directory busy: no more than that */
    }
    keep_only(fd, conn->kept, end);   /* here: the program goes on when this process has ended */
    pid_t pid = clone_silent();
    if (pid != 0)
        syscall(SYS_exit_group, pid < 0 ? 1 : 0);
    vn_pid = (pid_t)syscall(SYS_getpid);
    prctl(PR_SET_NAME, "vnicd-relay");
    relay_run(conn, fd, end);
}

int relay_start(struct conn *conn, int fd) {
    int pair[2], status = -1;
    sigset_t all, before;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        return -1;
    give_name(pair[0], conn->own);
    atomic_store(&conn->own->forked, 1);   /* who else has it must not call it closed, and must lock */
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);   /* the relay keeps them blocked: it ends with its two sides */
    pid_t pid = clone_silent();
    if (pid == 0)
        detach(conn, fd, pair[1]);
    while (pid > 0 && waitpid(pid, &status, __WCLONE) < 0 && errno == EINTR)
        continue;
    sigprocmask(SIG_SETMASK, &before, NULL);
    real_close(pair[1]);
    if (status != 0) {
        real_close(pair[0]);
        errno = ENOMEM;
        return -1;
    }
    if (conn->nonblocking)
        real_fcntl(pair[0], F_SETFL, O_RDWR | O_NONBLOCK);
    return pair[0];
}

/* --------------------------------------------------------------------------------- in the program's table */

/* Waits until the far end has answered; true when `conn` can be relayed, false when the offer is to be withdrawn. */
static bool settle(struct conn *conn, int fd) {
    uint64_t deadline = now_ns() + vn_settings.answer_ns;
    if (!conn->verified)   /* the answer will come, and to the relay: nobody else asks for it any more */
        return conn->phase != VN_PLAIN;
    while (conn->phase == VN_OFFERED && now_ns() < deadline) {
        struct pollfd bell = {fd, POLLIN, 0};
        real_poll(&bell, 1, 10);
        bell_take(conn, fd);
    }
    return conn->phase == VN_DIRECT || conn->phase == VN_BROKEN;
}

static int next_of(struct conn *conn, int fd) {
    while (fd <= vn_highest && conn_of(fd) != conn)
        fd++;
    return fd <= vn_highest ? fd : -1;
}

int relay_replace(int fd) {
    struct conn *conn = conn_hold(fd);
    if (conn == NULL)
        return 0;
    if (!settle(conn, fd))
        conn_recall(conn, fd);
    int end = conn->phase == VN_PLAIN ? -1 : relay_start(conn, fd);
    int result = end >= 0 || conn->phase == VN_PLAIN ? 0 : -1;
    for (int each = end >= 0 ? next_of(conn, 0) : -1; each >= 0;) {
        int following = next_of(conn, each + 1), use = end;
        if (following >= 0 && (use = real_fcntl(end, F_DUPFD_CLOEXEC, 3)) < 0)
            use = end;   /* no descriptors left: at least this one works */
        if (use == end)
            end = -1;
        epoll_leave(each);
        if (swap_descriptor(each, use) == 0)
            entry_release(entry_clear(each));
        else
            real_close(use);
        epoll_rejoin(each);
        each = end >= 0 ? following : -1;
    }
    if (end >= 0)
        real_close(end);
    conn_release(conn);
    return result;
}
