/* exec and posix_spawn: the next image gets a relay's end in place of each direct descriptor that it inherits.
 *
 * An exec that fails leaves the relay: the program goes on through it. A child of vfork shares our memory, so there
 * nothing is changed but the child's own descriptors in the kernel; they are known by their socket's number, because
 * the child may have moved them since (dup2 onto 0 and 1). Such a descriptor whose handshake is not over becomes the
 * TCP socket that is kept beside. What has FD_CLOEXEC is left alone.
 */
#include "parts.h"
#include "relay/relay.h"

#include <dirent.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int replace_inherited(void) {
    for (int fd = 0; fd <= vn_highest; fd++) {
        if (conn_of(fd) == NULL)
            continue;
        int flags = real_fcntl(fd, F_GETFD);
        if (flags >= 0 && !(flags & FD_CLOEXEC) && relay_replace(fd) != 0)
            return -1;
    }
    return 0;
}

/* ------------------------------------------------------------------------------------------- a child of vfork */

static ino_t bell_of_parent(int fd) {
    char path[64], text[64];
    unsigned long inode;
    sprintf(path, "/proc/%d/fd/%d", (int)vn_pid, fd);
    ssize_t length = readlink(path, text, sizeof(text) - 1);
    text[length > 0 ? length : 0] = '\0';
    return sscanf(text, "socket:[%lu]", &inode) == 1 ? inode : 0;
}

static ino_t inherited_unix(int fd) {
    struct stat status;
    int domain = 0, flags = real_fcntl(fd, F_GETFD);
    socklen_t length = sizeof(domain);
    if (flags < 0 || (flags & FD_CLOEXEC) || fstat(fd, &status) != 0 || !S_ISSOCK(status.st_mode))
        return 0;
    if (real_getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) != 0 || domain != AF_UNIX)
        return 0;
    return status.st_ino;
}

/* Calls `act` for each open descriptor; without opendir, which allocates, and with a limit as high as it may be. */
static int each_open(int (*act)(int fd, void *context), void *context) {
    char names[4096];
    long bytes;
    int result = 0, directory = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0)
        return 0;
    while (result == 0 && (bytes = syscall(SYS_getdents64, directory, names, sizeof(names))) > 0) {
        for (long at = 0; at < bytes && result == 0;) {
            struct dirent64 *entry = (struct dirent64 *)(names + at);
            if (entry->d_name[0] != '.' && atoi(entry->d_name) != directory)
                result = act(atoi(entry->d_name), context);
            at += entry->d_reclen;
        }
    }
    real_close(directory);
    return result;
}

struct substitute {
    ino_t inode;
    int with;
};

static int substitute(int fd, void *context) {
    struct substitute *it = context;
    if (fd != it->with && inherited_unix(fd) == it->inode)
        real_dup2(it->with, fd);
    return 0;
}

static struct conn *conn_with(ino_t inode, int guess) {
    if (conn_of(guess) != NULL && bell_of_parent(guess) == inode)
        return conn_hold(guess);
    for (int fd = 0; fd <= vn_highest; fd++)
        if (conn_of(fd) != NULL && bell_of_parent(fd) == inode)
            return conn_hold(fd);
    return NULL;
}

static int replace_in_child(int fd, void *context) {
    ino_t inode = inherited_unix(fd);
    struct conn *conn = inode != 0 ? conn_with(inode, fd) : NULL;
    (void)context;
    if (conn == NULL)
        return 0;
    struct substitute it = {inode, -1};
    /* Unanswered: the relay waits for the answer. Nothing may be received here: descriptors would come to the child's
     * table, and their numbers into the parent's memory. */
    if (conn->phase != VN_CONNECTING)
        it.with = relay_start(conn, fd);
    else if (conn->kept >= 0)
        it.with = real_fcntl(conn->kept, F_DUPFD_CLOEXEC, 3);
    /* Not the last reference: its end would close descriptors here, and not in the parent. */
    if (atomic_load(&conn->entry.references) > 1)
        conn_release(conn);
    if (it.with < 0)
        return -1;
    each_open(substitute, &it);
    real_close(it.with);
    return 0;
}

static int before_exec(void) {
    bool any = false;
    int saved = errno;
    READY();
    for (int fd = 0; fd <= vn_highest && !any; fd++)
        any = conn_of(fd) != NULL;
    if (!any)
        return 0;
    int result = getpid() == vn_pid ? replace_inherited() : each_open(replace_in_child, NULL);
    if (result == 0)
        errno = saved;
    return result;
}

/* ------------------------------------------------------------------------------------------------------ exec */

#define REAL(type, name, arguments) \
    static type(*real) arguments; \
    if (real == NULL) \
        *(void **)&real = real_function(name)

EXPORT int execve(const char *path, char *const argv[], char *const envp[]) {
    REAL(int, "execve", (const char *, char *const *, char *const *));
    return before_exec() == 0 ? real(path, argv, envp) : -1;
}

EXPORT int execv(const char *path, char *const argv[]) {
    return execve(path, argv, environ);
}

EXPORT int execvpe(const char *file, char *const argv[], char *const envp[]) {
    REAL(int, "execvpe", (const char *, char *const *, char *const *));
    return before_exec() == 0 ? real(file, argv, envp) : -1;
}

EXPORT int execvp(const char *file, char *const argv[]) {
    return execvpe(file, argv, environ);
}

EXPORT int execveat(int directory, const char *path, char *const argv[], char *const envp[], int flags) {
    REAL(int, "execveat", (int, const char *, char *const *, char *const *, int));
    return before_exec() == 0 ? real(directory, path, argv, envp, flags) : -1;
}

EXPORT int fexecve(int fd, char *const argv[], char *const envp[]) {
    REAL(int, "fexecve", (int, char *const *, char *const *));
    return before_exec() == 0 ? real(fd, argv, envp) : -1;
}

/* The arguments up to NULL as an array in the caller's frame. */
#define GATHER(argv, list, first) \
    va_list list; \
    size_t count_ = 1; \
    va_start(list, first); \
    while (va_arg(list, char *) != NULL) \
        count_++; \
    va_end(list); \
    char *argv[count_ + 1]; \
    va_start(list, first); \
    argv[0] = (char *)first; \
    for (size_t i_ = 1; i_ <= count_; i_++) \
        argv[i_] = va_arg(list, char *)

EXPORT int execl(const char *path, const char *first, ...) {
    GATHER(argv, list, first);
    va_end(list);
    return execve(path, argv, environ);
}

EXPORT int execlp(const char *file, const char *first, ...) {
    GATHER(argv, list, first);
    va_end(list);
    return execvpe(file, argv, environ);
}

EXPORT int execle(const char *path, const char *first, ...) {
    GATHER(argv, list, first);
    char *const *envp = va_arg(list, char *const *);
    va_end(list);
    return execve(path, argv, envp);
}

/* ------------------------------------------------------------------------------------------------ posix_spawn */

/* The C library makes the child by itself, with calls that can't be taken over. So the parent's descriptors become
 * relays, and parent and child both go on through them: those without FD_CLOEXEC when it spawns, and those that are
 * to be duplicated when that is said (file actions can't be looked into). */

EXPORT int posix_spawn_file_actions_adddup2(posix_spawn_file_actions_t *actions, int fd, int onto) {
    REAL(int, "posix_spawn_file_actions_adddup2", (posix_spawn_file_actions_t *, int, int));
    READY();
    if (UNLIKELY(conn_of(fd) != NULL) && getpid() == vn_pid && relay_replace(fd) != 0)
        return ENOMEM;
    return real(actions, fd, onto);
}

EXPORT int posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
                       const posix_spawnattr_t *attributes, char *const argv[], char *const envp[]) {
    REAL(int, "posix_spawn", (pid_t *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *,
                              char *const *, char *const *));
    return before_exec() == 0 ? real(pid, path, actions, attributes, argv, envp) : errno;
}

EXPORT int posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions,
                        const posix_spawnattr_t *attributes, char *const argv[], char *const envp[]) {
    REAL(int, "posix_spawnp", (pid_t *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *,
                               char *const *, char *const *));
    return before_exec() == 0 ? real(pid, file, actions, attributes, argv, envp) : errno;
}

/* --------------------------------------------------------------------------------------------- system and popen */

/* Most shells that a program starts have no use for its connections, which therefore stay direct. A command that has can
 * name it only by its number, as in <&5 or /dev/fd/5. */
static bool mentions(const char *command, int fd) {
    for (const char *at = command; (at = strpbrk(at, "&/")) != NULL;) {
        char *end;
        at++;
        if (*at >= '0' && *at <= '9' && strtol(at, &end, 10) == fd)
            return true;
    }
    return false;
}

static void before_shell(const char *command) {
    int saved = errno;
    READY();
    for (int fd = 0; fd <= vn_highest && command != NULL; fd++)
        if (UNLIKELY(conn_of(fd) != NULL) && getpid() == vn_pid && mentions(command, fd) &&
            !(real_fcntl(fd, F_GETFD) & FD_CLOEXEC))
            relay_replace(fd);
    errno = saved;
}

EXPORT int system(const char *command) {
    REAL(int, "system", (const char *));
    before_shell(command);
    return real(command);
}

EXPORT FILE *popen(const char *command, const char *mode) {
    REAL(FILE *, "popen", (const char *, const char *));
    before_shell(command);
    return real(command, mode);
}
