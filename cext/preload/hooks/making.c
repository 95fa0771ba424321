/* Functions that make descriptors: a number that means something here already was closed by ways that nobody saw. */
#include <dirent.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/process.h"
#include "base/real.h"
#include "base/settings.h"
#include "fdtable/entry.h"
#include "fdtable/limit.h"
#include "fdtable/marks.h"
#include "hooks/numbers.h"
#include "memory/region.h"
#include "watch/registry.h"

EXPORT int socket(int domain, int type, int protocol) {
    READY();
    int fd = number_made(real_socket(domain, type, protocol));
    if (type & SOCK_STREAM && domain != AF_UNIX)
        mark_born(fd);
    return fd;
}

/* MAKER(type of arguments, name, parameters, names): the real function, and a look at the number it gives. */
#define MAKER(name, parameters, names) \
    EXPORT int name parameters { \
        REAL(int, #name, parameters); \
        READY(); \
        return number_made(real names); \
    }

MAKER(creat, (const char *path, mode_t mode), (path, mode))
MAKER(creat64, (const char *path, mode_t mode), (path, mode))
MAKER(eventfd, (unsigned value, int flags), (value, flags))
MAKER(timerfd_create, (clockid_t clock, int flags), (clock, flags))
MAKER(signalfd, (int fd, const sigset_t *mask, int flags), (fd, mask, flags))
MAKER(inotify_init, (void), ())
MAKER(inotify_init1, (int flags), (flags))
MAKER(memfd_create, (const char *name, unsigned flags), (name, flags))
MAKER(mkstemp, (char *template), (template))
MAKER(mkstemp64, (char *template), (template))
MAKER(mkostemp, (char *template, int flags), (template, flags))
MAKER(mkostemp64, (char *template, int flags), (template, flags))

/* Its copies, here and in other processes, are to be known for the same one, whatever they are used for first. */
static int epoll_made(int fd) {
    int saved = errno;
    if (fd < 0 || number_made(fd) < 0)
        return -1;
    struct epoll *epoll = settings.off || process_is_borrowed() ? NULL : epoll_make(fd);
    if (epoll != NULL)
        epoll_release(epoll);
    errno = saved;
    return fd;
}

EXPORT int epoll_create(int size) {
    REAL(int, "epoll_create", (int));
    READY();
    return epoll_made(real(size));
}

EXPORT int epoll_create1(int flags) {
    REAL(int, "epoll_create1", (int));
    READY();
    return epoll_made(real(flags));
}

/* mlockall is for the program's memory. */
static void unlock_rings(int flags) {
    region_lock_future((flags & MCL_FUTURE) != 0);
    for (int fd = 0; fd <= entry_highest; fd++) {
        struct conn *conn = conn_hold(fd);
        if (conn == NULL)
            continue;
        region_unlock(conn->own);
        region_unlock(conn->peer);
        conn_release(conn);
    }
}

EXPORT int mlockall(int flags) {
    REAL(int, "mlockall", (int));
    READY();
    int result = real(flags);
    if (result == 0)
        unlock_rings(flags);
    return result;
}

EXPORT int munlockall(void) {
    REAL(int, "munlockall", (void));
    region_lock_future(false);
    return real();
}

static int both_made(int result, const int *fds) {
    if (result != 0)
        return result;
    if (LIKELY(number_made(fds[0]) >= 0 && number_made(fds[1]) >= 0))
        return 0;
    quiet_close(limit_is_reached(fds[0]) ? fds[1] : fds[0]);
    errno = EMFILE;
    return -1;
}

EXPORT int pipe(int fds[2]) {
    REAL(int, "pipe", (int *));
    READY();
    return both_made(real(fds), fds);
}

EXPORT int pipe2(int fds[2], int flags) {
    REAL(int, "pipe2", (int *, int));
    READY();
    return both_made(real(fds, flags), fds);
}

EXPORT int socketpair(int domain, int type, int protocol, int fds[2]) {
    REAL(int, "socketpair", (int, int, int, int *));
    READY();
    return both_made(real(domain, type, protocol, fds), fds);
}

#define MODE(flags) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | O_TMPFILE)) { \
        va_list arguments; \
        va_start(arguments, flags); \
        mode = va_arg(arguments, mode_t); \
        va_end(arguments); \
    }

#define OPENER(name) \
    EXPORT int name(const char *path, int flags, ...) { \
        REAL(int, #name, (const char *, int, ...)); \
        MODE(flags) \
        READY(); \
        return number_made(real(path, flags, mode)); \
    }

OPENER(open)
OPENER(open64)

#define OPENER_AT(name) \
    EXPORT int name(int directory, const char *path, int flags, ...) { \
        REAL(int, #name, (int, const char *, int, ...)); \
        MODE(flags) \
        READY(); \
        return number_made(real(directory, path, flags, mode)); \
    }

OPENER_AT(openat)
OPENER_AT(openat64)
