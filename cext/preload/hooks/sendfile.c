/* sendfile and splice on direct connections: by a buffer, with the kernel's rules for offsets, short counts and errors. */
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/process.h"
#include "base/real.h"
#include "stream/conn.h"
#include "stream/ring.h"

#define BUFFER (64 * 1024)      /* below the size from which malloc asks the kernel each time */
#define MOST 0x7ffff000u        /* what the kernel moves in one call */

/* ---------------------------------------------------------------------------------------------------- sendfile */

static ssize_t copy_file(int out, int in, off64_t at, size_t count, char *buffer) {
    size_t total = 0;
    while (total < count) {
        size_t piece = count - total < BUFFER ? count - total : BUFFER;
        ssize_t got = pread64(in, buffer, piece, at + (off64_t)total);
        if (got < 0 && total == 0 && errno == EISDIR)
            errno = EINVAL;
        if (got <= 0)
            return total != 0 ? (ssize_t)total : got;
        ssize_t sent = send(out, buffer, (size_t)got, 0);
        if (sent < 0)
            return total != 0 ? (ssize_t)total : -1;
        total += (size_t)sent;
        if (sent < got)
            break;
    }
    return (ssize_t)total;
}

static ssize_t to_connection(int out, int in, off64_t *offset, size_t count) {
    off64_t at = lseek64(in, 0, SEEK_CUR);
    char *buffer;
    if (at < 0) {   /* a pipe, a socket: the kernel does not take them either */
        if (errno == ESPIPE)
            errno = EINVAL;
        return -1;
    }
    if (offset != NULL && *offset < 0) {
        errno = EINVAL;
        return -1;
    }
    if (count == 0)
        return 0;
    if ((buffer = malloc(count < BUFFER ? count : BUFFER)) == NULL)
        return -1;
    ssize_t sent = copy_file(out, in, offset != NULL ? *offset : at, count < MOST ? count : MOST, buffer);
    int error = errno;
    if (sent > 0) {
        if (offset != NULL)
            *offset += sent;
        else
            lseek64(in, at + sent, SEEK_SET);
    }
    free(buffer);
    errno = error;
    return sent;
}

static ssize_t sendfile_any(int out, int in, off64_t *offset, size_t count) {
    static ssize_t (*real)(int, int, off64_t *, size_t);
    READY();
    struct conn *conn = conn_hold(out);
    bool direct = conn != NULL && conn_phase(conn) != CONN_PLAIN;
    if (conn != NULL)
        conn_release(conn);
    if (UNLIKELY(direct))
        return to_connection(out, in, offset, count);
    if (UNLIKELY(conn_of(in) != NULL))   /* into a pipe; the rest is refused by splice as well */
        return splice(in, offset, out, NULL, count, 0);
    if (real == NULL)
        *(void **)&real = real_function("sendfile64");
    return real(out, in, offset, count);
}

EXPORT ssize_t sendfile64(int out, int in, off64_t *offset, size_t count) {
    return sendfile_any(out, in, offset, count);
}

EXPORT ssize_t sendfile(int out, int in, off_t *offset, size_t count) {
    _Static_assert(sizeof(off_t) == sizeof(off64_t), "the same function on 64-bit machines");
    return sendfile_any(out, in, (off64_t *)offset, count);
}

/* ------------------------------------------------------------------------------------------------------ splice */

/* Waits for a pipe unless told not to: 0, or -1 and errno. */
static int pipe_ready(int pipe, short events, bool wait) {
    struct pollfd fds = {pipe, events, 0};
    int n = real_poll(&fds, 1, wait ? -1 : 0);
    if (n == 0)
        errno = EAGAIN;
    return n > 0 ? 0 : -1;
}

/* Bytes that a write into a pipe takes for sure without sleeping, once poll has called it writable. */
static size_t pipe_room(int pipe) {
    int held = 0, size = real_fcntl(pipe, F_GETPIPE_SZ);
    if (size > 0 && real_ioctl(pipe, FIONREAD, &held) == 0 && held == 0)
        return (size_t)size;
    return 4096;   /* a page */
}

/* Bytes are taken from the connection only when the pipe has them. */
static ssize_t into_pipe(int in, int pipe, size_t count, unsigned flags, char *buffer) {
    bool nonblocking = flags & SPLICE_F_NONBLOCK;
    size_t total = 0;
    while (total < count) {
        if (pipe_ready(pipe, POLLOUT, !nonblocking && total == 0) != 0)
            break;
        size_t piece = pipe_room(pipe);
        if (piece > count - total)
            piece = count - total;
        if (piece > BUFFER)
            piece = BUFFER;
        ssize_t got = recv(in, buffer, piece, MSG_PEEK | (nonblocking || total != 0 ? MSG_DONTWAIT : 0));
        if (got == 0)
            return (ssize_t)total;
        if (got < 0)
            break;
        ssize_t written = real_write(pipe, buffer, (size_t)got);
        if (written <= 0)
            break;
        recv(in, buffer, (size_t)written, MSG_DONTWAIT);
        total += (size_t)written;
        if (written < got)
            break;
    }
    return total != 0 ? (ssize_t)total : -1;
}

static size_t stream_room(int fd) {
    struct conn *conn = conn_hold(fd);
    if (conn == NULL)
        return BUFFER;
    uint64_t bound = stream_bound(conn->own, conn->peer);
    uint64_t used = stream_unread_by_peer(conn);
    conn_release(conn);
    return used < bound ? bound - (size_t)used : 0;
}

static ssize_t send_all(int fd, const char *data, size_t bytes) {
    size_t done = 0;
    while (done < bytes) {
        ssize_t sent = send(fd, data + done, bytes - done, 0);
        if (sent < 0 && errno == EAGAIN) {   /* another thread took the room: but the bytes have left the pipe */
            struct pollfd room = {fd, POLLOUT, 0};
            poll(&room, 1, -1);
        } else if (sent < 0 && errno != EINTR) {
            return done != 0 ? (ssize_t)done : -1;
        } else if (sent > 0) {
            done += (size_t)sent;
        }
    }
    return (ssize_t)done;
}

/* Bytes are taken from the pipe only when the connection has room for them. */
static ssize_t from_pipe(int pipe, int out, size_t count, unsigned flags, char *buffer) {
    size_t total = 0;
    while (total < count) {
        bool wait = !(flags & SPLICE_F_NONBLOCK) && total == 0;
        if (pipe_ready(pipe, POLLIN, wait) != 0)
            break;
        size_t room = stream_room(out), piece = count - total;
        if (room == 0) {
            int status = real_fcntl(out, F_GETFL);
            struct pollfd writable = {out, POLLOUT, 0};
            if (!wait || (status & O_NONBLOCK)) {
                errno = EAGAIN;
                break;
            }
            if (poll(&writable, 1, -1) < 0)
                break;
            room = BUFFER;
        }
        if (piece > room)
            piece = room;
        if (piece > BUFFER)
            piece = BUFFER;
        ssize_t got = real_read(pipe, buffer, piece);
        if (got == 0)   /* no writers are left */
            return (ssize_t)total;
        if (got < 0)
            break;
        ssize_t sent = send_all(out, buffer, (size_t)got);
        if (sent < 0)
            break;
        total += (size_t)sent;
    }
    return total != 0 ? (ssize_t)total : -1;
}

static bool is_pipe(int fd) {
    struct stat status;
    return fstat(fd, &status) == 0 && S_ISFIFO(status.st_mode);
}

EXPORT ssize_t splice(int in, off64_t *in_offset, int out, off64_t *out_offset, size_t count, unsigned flags) {
    static ssize_t (*real)(int, off64_t *, int, off64_t *, size_t, unsigned);
    READY();
    if (LIKELY(conn_of(in) == NULL && conn_of(out) == NULL)) {
        if (real == NULL)
            *(void **)&real = real_function("splice");
        return real(in, in_offset, out, out_offset, count, flags);
    }
    bool outwards = conn_of(out) != NULL;
    if (count == 0)
        return 0;
    if (in < 0 || out < 0 || !is_pipe(outwards ? in : out)) {
        errno = in < 0 || out < 0 ? EBADF : EINVAL;
        return -1;
    }
    if (in_offset != NULL || out_offset != NULL) {
        errno = ESPIPE;
        return -1;
    }
    char *buffer = malloc(count < BUFFER ? count : BUFFER);
    if (buffer == NULL)
        return -1;
    if (count > MOST)
        count = MOST;
    ssize_t moved = outwards ? from_pipe(in, out, count, flags, buffer) : into_pipe(in, out, count, flags, buffer);
    int error = errno;
    free(buffer);
    errno = error;
    return moved;
}
