/* exec and posix_spawn: the next image gets a relay's end in place of each direct descriptor that it inherits.
 *
 * An exec that fails leaves the relay: the program goes on through it. A child of vfork shares our memory, so there
 * nothing is changed but the child's own descriptors in the kernel; they are known by their socket's number, because
 * the child may have moved them since (dup2 onto 0 and 1). What has FD_CLOEXEC is left alone.
 */
#include <dirent.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/process.h"
#include "base/real.h"
#include "fdtable/limit.h"
#include "handshake/progress.h"
#include "relay/relay.h"

static int replace_inherited(void) {
    for (int fd = 0; fd <= entry_highest; fd++) {
        if (conn_of(fd) == NULL)
            continue;
        int flags = real_fcntl(fd, F_GETFD);
        if (flags >= 0 && !(flags & FD_CLOEXEC) && relay_replace(fd) != 0)
            return -1;
    }
    return 0;
}

/* ------------------------------------------------------------------------------------------- a child of vfork */

/* The socket's number if the next image gets fd; else 0. */
static uint64_t inherited_socket(int fd) {
    struct stat status;
    int flags = real_fcntl(fd, F_GETFD);
    return flags >= 0 && !(flags & FD_CLOEXEC) && fstat(fd, &status) == 0 && S_ISSOCK(status.st_mode) ? status.st_ino
                                                                                                      : 0;
}

/* Without /proc, all numbers that the program can be expected to have. */
#define NUMBERS_WITHOUT_PROC 1024

static int each_number(int (*act)(int fd, void *context), void *context) {
    int result = 0;
    for (int fd = 0; result == 0 && (fd <= entry_highest || fd < NUMBERS_WITHOUT_PROC); fd++)
        result = act(fd, context);
    return result;
}

/* Calls `act` for each open descriptor; without opendir, which allocates, and with a limit as high as it may be. */
static int each_open(int (*act)(int fd, void *context), void *context) {
    char names[4096];
    long bytes;
    int result = 0,
        directory = (int)real_syscall(SYS_openat, AT_FDCWD, "/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0)
        return each_number(act, context);
    while (result == 0 && (bytes = real_syscall(SYS_getdents64, directory, names, sizeof(names))) > 0) {
        for (long at = 0; at < bytes && result == 0;) {
            struct dirent64 *entry = (struct dirent64 *)(names + at);
            if (entry->d_name[0] != '.' && atoi(entry->d_name) != directory)
                result = act(atoi(entry->d_name), context);
            at += entry->d_reclen;
        }
    }
    quiet_close(directory);
    return result;
}

struct substitute {
    uint64_t inode;
    int with;
};

static int substitute(int fd, void *context) {
    struct substitute *it = context;
    if (fd != it->with && inherited_socket(fd) == it->inode)
        real_dup2(it->with, fd);
    return 0;
}

static struct conn *conn_with(uint64_t inode) {
    for (int fd = 0; fd <= entry_highest; fd++) {
        struct conn *conn = conn_hold(fd);
        if (conn != NULL && conn->inode == inode)
            return conn;
        if (conn != NULL)
            conn_release(conn);
    }
    return NULL;
}

/* The table and the connections are the parent's, and so are shared; only the descriptors are the child's own. */
static int replace_in_child(int fd, void *context) {
    uint64_t inode = inherited_socket(fd);
    struct conn *conn = inode != 0 ? conn_with(inode) : NULL;
    int result = 0;
    (void)context;
    if (conn == NULL)
        return 0;
    if (progress_finish(conn, fd)) {
        struct substitute it = {inode, relay_start(conn, fd)};
        if (it.with >= 0) {
            each_open(substitute, &it);
            quiet_close(it.with);
        }
        result = it.with >= 0 ? 0 : -1;
    }
    conn_release(conn);
    return result;
}

static int hand_on(void) {
    bool any = false;
    int saved = errno;
    READY();
    for (int fd = 0; fd <= entry_highest && !any; fd++)
        any = conn_of(fd) != NULL;
    if (!any)
        return 0;
    int result = !process_is_borrowed() ? replace_inherited() : each_open(replace_in_child, NULL);
    if (result == 0)
        errno = saved;
    return result;
}

/* Does `call`, which makes another program of this process or of a child: with the program's own limit of descriptors. */
#define WITH_LIMIT(type, call) \
    limit_before_exec(); \
    type result_ = call; \
    limit_after_exec(); \
    return result_

#define EXEC(call) \
    if (hand_on() != 0) \
        return -1; \
    WITH_LIMIT(int, call)

/* ------------------------------------------------------------------------------------------------------ exec */

EXPORT int execve(const char *path, char *const argv[], char *const envp[]) {
    REAL(int, "execve", (const char *, char *const *, char *const *));
    EXEC(real(path, argv, envp));
}

EXPORT int execv(const char *path, char *const argv[]) {
    return execve(path, argv, environ);
}

EXPORT int execvpe(const char *file, char *const argv[], char *const envp[]) {
    REAL(int, "execvpe", (const char *, char *const *, char *const *));
    EXEC(real(file, argv, envp));
}

EXPORT int execvp(const char *file, char *const argv[]) {
    return execvpe(file, argv, environ);
}

EXPORT int execveat(int directory, const char *path, char *const argv[], char *const envp[], int flags) {
    REAL(int, "execveat", (int, const char *, char *const *, char *const *, int));
    EXEC(real(directory, path, argv, envp, flags));
}

EXPORT int fexecve(int fd, char *const argv[], char *const envp[]) {
    REAL(int, "fexecve", (int, char *const *, char *const *));
    EXEC(real(fd, argv, envp));
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
    if (UNLIKELY(conn_of(fd) != NULL) && !process_is_borrowed() && relay_replace(fd) != 0)
        return ENOMEM;
    return real(actions, fd, onto);
}

EXPORT int posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
                       const posix_spawnattr_t *attributes, char *const argv[], char *const envp[]) {
    REAL(int, "posix_spawn",
         (pid_t *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *, char *const *,
          char *const *));
    if (hand_on() != 0)
        return errno;
    WITH_LIMIT(int, real(pid, path, actions, attributes, argv, envp));
}

EXPORT int posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions,
                        const posix_spawnattr_t *attributes, char *const argv[], char *const envp[]) {
    REAL(int, "posix_spawnp",
         (pid_t *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *, char *const *,
          char *const *));
    if (hand_on() != 0)
        return errno;
    WITH_LIMIT(int, real(pid, file, actions, attributes, argv, envp));
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
    for (int fd = 0; fd <= entry_highest && command != NULL; fd++)
        if (UNLIKELY(conn_of(fd) != NULL) && !process_is_borrowed() && mentions(command, fd) &&
            !(real_fcntl(fd, F_GETFD) & FD_CLOEXEC))
            relay_replace(fd);
    errno = saved;
}

EXPORT int system(const char *command) {
    REAL(int, "system", (const char *));
    before_shell(command);
    WITH_LIMIT(int, real(command));
}

EXPORT FILE *popen(const char *command, const char *mode) {
    REAL(FILE *, "popen", (const char *, const char *));
    before_shell(command);
    WITH_LIMIT(FILE *, real(command, mode));
}
