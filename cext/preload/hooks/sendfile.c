/* sendfile and splice on direct connections: by a buffer, with the kernel's rules for offsets, short counts and errors. */
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/process.h"
#include "base/real.h"
#include "base/signals.h"
#include "stream/conn.h"
#include "stream/doorbell.h"
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
    REAL(ssize_t, "sendfile64", (int, int, off64_t *, size_t));
    READY();
    struct conn *conn = conn_hold(out);
    bool direct = conn != NULL && conn_phase(conn) != CONN_PLAIN;
    if (conn != NULL)
        conn_release(conn);
    if (UNLIKELY(direct))
        return to_connection(out, in, offset, count);
    if (UNLIKELY(conn_of(in) != NULL))   /* into a pipe; the rest is refused by splice as well */
        return splice(in, offset, out, NULL, count, 0);
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

struct splicing {
    int in, out;
    const off64_t *in_offset, *out_offset;
    unsigned flags;
};

#define FLAGS (SPLICE_F_MOVE | SPLICE_F_NONBLOCK | SPLICE_F_MORE | SPLICE_F_GIFT)

/* Waits for a pipe unless told not to: 0, or -1 and errno. */
static int pipe_ready(int pipe, short events, bool wait) {
    struct pollfd fds = {pipe, events, 0};
    int n = real_poll(&fds, 1, wait ? -1 : 0);
    if (n == 0)
        errno = EAGAIN;
    return n > 0 ? 0 : -1;
}

/* The pipe takes the buffer's pages, which nobody writes to again; and never sleeps, whoever else writes to it. */
static ssize_t give_pages(void *about, const void *data, size_t bytes) {
    struct iovec pages = {(void *)data, bytes};
    return (ssize_t)real_syscall(SYS_vmsplice, *(int *)about, &pages, 1ul, (unsigned long)SPLICE_F_NONBLOCK);
}

/* What is there now, but no more than the pipe takes. */
static ssize_t pass(int in, int pipe, size_t most) {
    HANDLERS_WAIT();
    struct conn *conn = conn_hold(in);
    if (conn == NULL)
        return 0;
    void *buffer = mmap(NULL, most, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ssize_t passed = buffer != MAP_FAILED ? stream_pass(conn, buffer, most, give_pages, &pipe) : -1;
    int saved = errno;
    if (passed > 0)
        doorbell_ring_if_armed(conn, VN_ARMED_ROOM);
    if (buffer != MAP_FAILED)
        munmap(buffer, most);
    conn_release(conn);
    errno = saved;
    return passed;
}

static ssize_t into_pipe(int in, int pipe, size_t count, bool waits) {
    size_t total = 0;
    while (total < count) {
        char byte;
        if (pipe_ready(pipe, POLLOUT, waits && total == 0) != 0)
            break;
        ssize_t there = recv(in, &byte, 1, MSG_PEEK | (total != 0 ? MSG_DONTWAIT : 0));
        if (there <= 0)
            return total != 0 ? (ssize_t)total : there;
        ssize_t passed = pass(in, pipe, count - total < BUFFER ? count - total : BUFFER);
        if (passed < 0 && (errno != EAGAIN || !waits))
            break;
        total += passed > 0 ? (size_t)passed : 0;
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
static ssize_t copy_from_pipe(int pipe, int out, size_t count, bool waits, char *buffer) {
    size_t total = 0;
    while (total < count) {
        bool wait = waits && total == 0;
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

static ssize_t from_pipe(int pipe, int out, size_t count, bool waits) {
    char *buffer = malloc(count < BUFFER ? count : BUFFER);
    if (buffer == NULL)
        return -1;
    ssize_t moved = copy_from_pipe(pipe, out, count, waits, buffer);
    int saved = errno;
    free(buffer);
    errno = saved;
    return moved;
}

static bool is_pipe(int fd) {
    struct stat status;
    return fstat(fd, &status) == 0 && S_ISFIFO(status.st_mode);
}

/* What the kernel says of a call with a connection before it moves anything; 0: nothing. `flags` are the pipe's. */
static int judge(const struct splicing *call, bool outwards, int flags) {
    const off64_t *of_pipe = outwards ? call->in_offset : call->out_offset;
    const off64_t *of_socket = outwards ? call->out_offset : call->in_offset;
    int pipe = outwards ? call->in : call->out;
    if (call->flags & ~(unsigned)FLAGS)
        return EINVAL;
    if (flags < 0)
        return EBADF;
    if (is_pipe(pipe) && of_pipe != NULL)
        return ESPIPE;
    if ((flags & O_ACCMODE) == (outwards ? O_WRONLY : O_RDONLY))
        return EBADF;
    return of_socket != NULL || !is_pipe(pipe) ? EINVAL : 0;
}

EXPORT ssize_t splice(int in, off64_t *in_offset, int out, off64_t *out_offset, size_t count, unsigned flags) {
    REAL(ssize_t, "splice", (int, off64_t *, int, off64_t *, size_t, unsigned));
    READY();
    if (LIKELY(conn_of(in) == NULL && conn_of(out) == NULL))
        return real(in, in_offset, out, out_offset, count, flags);
    const struct splicing call = {in, out, in_offset, out_offset, flags};
    bool outwards = conn_of(out) != NULL;
    if (count == 0)
        return 0;
    int pipe_flags = real_fcntl(outwards ? in : out, F_GETFL), error = judge(&call, outwards, pipe_flags);
    if (error != 0) {
        errno = error;
        return -1;
    }
    if (count > MOST)
        count = MOST;
    bool waits = !(flags & SPLICE_F_NONBLOCK) && !(pipe_flags & O_NONBLOCK);
    return outwards ? from_pipe(in, out, count, waits) : into_pipe(in, out, count, waits);
}
