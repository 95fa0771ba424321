/* stdio on a socket: the C library's own FILE calls the kernel by itself, so such a FILE gets functions of ours.
 *
 * fdopen of a direct descriptor, or of a TCP socket that is not connected yet and may become direct, makes a FILE
 * whose bytes go by the library's read and write; fileno knows its descriptor. Not covered: fdopen of a socket whose
 * non-blocking connect is under way without being direct (it will not be), and wide characters on such a FILE.
 */

#include <netinet/in.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/process.h"
#include "base/real.h"
#include "base/signals.h"
#include "base/settings.h"
#include "stream/conn.h"

struct cookie {
    struct cookie *next;
    FILE *file;
    int fd;
};

static _Atomic(struct cookie *) cookies; /* NULL for nearly every program: fileno is then the real one at once */
static pthread_mutex_t cookies_lock = PTHREAD_MUTEX_INITIALIZER;

void stdio_before_fork(void) {
    mutex_lock(&cookies_lock);
}

void stdio_after_fork(void) {
    mutex_unlock(&cookies_lock);
}

static ssize_t cookie_read(void *place, char *data, size_t bytes) {
    return read(((struct cookie *)place)->fd, data, bytes);
}

/* All of it, as the C library does: a short count is an error to it. */
static ssize_t cookie_write(void *place, const char *data, size_t bytes) {
    size_t done = 0;
    while (done < bytes) {
        ssize_t n = write(((struct cookie *)place)->fd, data + done, bytes - done);
        if (n < 0)
            break;
        done += (size_t)n;
    }
    return (ssize_t)done;
}

static int cookie_seek(void *place, off64_t *offset, int whence) {
    (void)place, (void)offset, (void)whence;
    errno = ESPIPE; /* which the C library overlooks when it turns from reading to writing */
    return -1;
}

static int cookie_close(void *place) {
    struct cookie *cookie = place, *each;
    int fd = cookie->fd;
    mutex_lock(&cookies_lock);
    if (cookies == cookie)
        cookies = cookie->next;
    else
        for (each = cookies; each != NULL; each = each->next)
            if (each->next == cookie) {
                each->next = cookie->next;
                break;
            }
    mutex_unlock(&cookies_lock);
    free(cookie);
    return close(fd);
}

/* A connection, or a TCP socket that a connect may make one. */
static bool may_be_direct(int fd) {
    int protocol = 0, saved = errno;
    struct sockaddr_storage name;
    socklen_t length = sizeof(protocol), room = sizeof(name);
    if (conn_of(fd) != NULL)
        return true;
    bool open_tcp = !settings.off && real_getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &length) == 0 &&
                    protocol == IPPROTO_TCP && real_getpeername(fd, (struct sockaddr *)&name, &room) != 0;
    errno = saved;
    return open_tcp;
}

EXPORT FILE *fdopen(int fd, const char *mode) {
    REAL(FILE *, "fdopen", (int, const char *));
    static const cookie_io_functions_t functions = {cookie_read, cookie_write, cookie_seek, cookie_close};
    char plain[3] = {mode[0], strchr(mode, '+') != NULL ? '+' : '\0', '\0'};
    READY();
    if (LIKELY(!may_be_direct(fd))) {
        return real(fd, mode);
    }
    struct cookie *cookie = malloc(sizeof(*cookie));
    if (cookie == NULL)
        return NULL;
    FILE *file = fopencookie(cookie, plain, functions);
    if (file == NULL) {
        free(cookie);
        return NULL;
    }
    cookie->file = file;
    cookie->fd = fd;
    mutex_lock(&cookies_lock);
    cookie->next = cookies;
    cookies = cookie;
    mutex_unlock(&cookies_lock);
    return file;
}

static int number_of(FILE *file, int (*real)(FILE *)) {
    int fd = -1;
    if (LIKELY(cookies == NULL))
        return real(file);
    mutex_lock(&cookies_lock);
    for (struct cookie *each = cookies; each != NULL && fd < 0; each = each->next)
        if (each->file == file)
            fd = each->fd;
    mutex_unlock(&cookies_lock);
    return fd >= 0 ? fd : real(file);
}

EXPORT int fileno(FILE *file) {
    REAL(int, "fileno", (FILE *));
    return number_of(file, real);
}

EXPORT int fileno_unlocked(FILE *file) {
    REAL(int, "fileno_unlocked", (FILE *));
    return number_of(file, real);
}

/* ----------------------------------------------------------------------------------------------------- dprintf */

static int print(int fd, const char *format, va_list arguments) {
    char *text = NULL;
    int bytes = vasprintf(&text, format, arguments);
    if (bytes < 0)
        return -1;
    size_t done = 0;
    while (bytes > 0 && done < (size_t)bytes) {
        ssize_t n = write(fd, text + done, (size_t)bytes - done);
        if (n < 0) {
            bytes = -1;
            break;
        }
        done += (size_t)n;
    }
    int error = errno;
    free(text);
    errno = error;
    return bytes;
}

EXPORT int vdprintf(int fd, const char *format, va_list arguments) {
    REAL(int, "vdprintf", (int, const char *, va_list));
    READY();
    if (UNLIKELY(conn_of(fd) != NULL))
        return print(fd, format, arguments);
    return real(fd, format, arguments);
}

EXPORT int __vdprintf_chk(int fd, int flag, const char *format, va_list arguments) {
    REAL(int, "__vdprintf_chk", (int, int, const char *, va_list));
    READY();
    if (UNLIKELY(conn_of(fd) != NULL))
        return print(fd, format, arguments);
    return real(fd, flag, format, arguments);
}

EXPORT int dprintf(int fd, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int bytes = vdprintf(fd, format, arguments);
    va_end(arguments);
    return bytes;
}

EXPORT int __dprintf_chk(int fd, int flag, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int bytes = __vdprintf_chk(fd, flag, format, arguments);
    va_end(arguments);
    return bytes;
}
