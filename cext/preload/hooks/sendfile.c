/* sendfile and splice on direct connections: by a buffer, with the kernel's rules for offsets, short counts and errors. */
#include <poll.h>
#include <pthread.h>
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
#include "wait/block.h"
#include "wait/sleeper.h"
#include "wait/stay.h"

#define BUFFER (64 * 1024)
#define FEW 2048         /* that may be on the stack: threads may have 16 KiB of it */
#define MOST 0x7ffff000u /* what the kernel moves in one call */

static ssize_t fail(int error) {
    errno = error;
    return -1;
}

/* Memory that a handler's jump out of a sleep gives back. */
struct room {
    char few[FEW];
    char *data;
    size_t bytes;
    struct mark mark;
    struct stay *stay;
};

/* BUFFER bytes for the next call, as to map them takes longer than to send them */
static _Atomic(void *) spare_buffer;

static void give_back(void *memory) {
    void *none = NULL;
    if (!atomic_compare_exchange_strong(&spare_buffer, &none, memory))
        munmap(memory, BUFFER);
}

static void leave_room(struct stay *stay) {
    give_back(stay->what);
}

static bool take_room(struct room *room, size_t bytes) {
    room->stay = NULL;
    room->data = room->few;
    room->bytes = bytes < FEW ? bytes : FEW;
    if (bytes <= FEW)
        return true;
    void *memory = atomic_exchange(&spare_buffer, NULL);
    if (memory == NULL)
        memory = mmap(NULL, BUFFER, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return false;
    room->data = memory;
    room->bytes = BUFFER;
    room->stay = stay_begin(&room->mark, leave_room, memory);
    return true;
}

static void give_room_back(struct room *room) {
    int saved = errno;
    if (room->stay != NULL) {
        give_back(room->data);
        stay_end(room->stay);
    }
    errno = saved;
}

/* Until the connection has room: 0, or -1 and errno. moved: the call has moved some bytes, so any handler ends it. */
static int wait_for_room(struct conn *conn, int fd, bool moved) {
    uint64_t ns = atomic_load_explicit(&conn->own->send_timeout_ns, memory_order_relaxed);
    if (conn_is_nonblocking(conn))
        return (int)fail(EAGAIN);
    if (UNLIKELY(conn_phase(conn) == CONN_PLAIN)) {
        int interrupted, n = sleeper_poll(fd, POLLOUT, ns != 0 ? ns : FOR_EVER, false, &interrupted);
        return n > 0 ? 0 : (int)fail(n == 0 ? EAGAIN : errno);
    }
    int result = block(conn, fd, POLLOUT, ns != 0 ? now_ns() + ns : 0, moved);
    if (result < 0 && errno == ERESTART) /* another file has the number */
        errno = EINTR;
    return result;
}

/* ---------------------------------------------------------------------------------------------------- sendfile */

struct file {
    int fd;
    off64_t at;
    off64_t *offset; /* the program's, which moves with each piece; NULL: the file's own */
};

static void advance(struct file *file, ssize_t bytes) {
    file->at += bytes;
    if (file->offset != NULL)
        *file->offset = file->at;
    else
        lseek64(file->fd, file->at, SEEK_SET);
}

static ssize_t copy_file(struct conn *conn, int out, struct file *file, size_t count, const struct room *room) {
    size_t total = 0;
    while (total < count) {
        size_t piece = count - total < room->bytes ? count - total : room->bytes;
        ssize_t got = (ssize_t)real_syscall(SYS_pread64, file->fd, room->data, piece, file->at);
        if (got < 0 && total == 0 && errno == EISDIR)
            errno = EINVAL;
        if (got <= 0)
            return total != 0 ? (ssize_t)total : got;
        ssize_t sent = send(out, room->data, (size_t)got, MSG_DONTWAIT);
        if (sent > 0) {
            advance(file, sent);
            total += (size_t)sent;
        } else if ((sent < 0 && errno != EAGAIN) || wait_for_room(conn, out, total != 0) != 0) {
            return total != 0 ? (ssize_t)total : -1;
        }
    }
    return (ssize_t)total;
}

static ssize_t to_connection(struct conn *conn, int out, int in, off64_t *offset, size_t count) {
    struct file file = {in, lseek64(in, 0, SEEK_CUR), offset};
    struct room room;
    if (file.at < 0) /* a pipe, a socket: the kernel does not take them either */
        return fail(errno == ESPIPE ? EINVAL : errno);
    if (offset != NULL && (file.at = *offset) < 0)
        return fail(EINVAL);
    if (count == 0)
        return 0;
    if (!take_room(&room, count))
        return -1;
    ssize_t sent = copy_file(conn, out, &file, count < MOST ? count : MOST, &room);
    give_room_back(&room);
    return sent;
}

static void be_cancelled(struct stay *stay) {
    pthread_setcancelstate((int)stay->armed, NULL);
}

/* As the kernel's is none. Releases the connection. */
static ssize_t unlike_a_cancellation_point(struct conn *conn, int out, int in, off64_t *offset, size_t count) {
    struct mark mark;
    int state;
    struct stay *stay = stay_begin(&mark, be_cancelled, NULL);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
    stay->armed = (unsigned)state;
    ssize_t sent = to_connection(conn, out, in, offset, count);
    int saved = errno;
    conn_release(conn);
    pthread_setcancelstate(state, NULL);
    stay_end(stay);
    errno = saved;
    return sent;
}

static ssize_t sendfile_any(int out, int in, off64_t *offset, size_t count) {
    REAL(ssize_t, "sendfile64", (int, int, off64_t *, size_t));
    READY();
    if (UNLIKELY(conn_of(out) != NULL)) {
        HANDLERS_WAIT();
        struct conn *conn = conn_hold(out);
        if (conn != NULL && conn_phase(conn) != CONN_PLAIN)
            return unlike_a_cancellation_point(conn, out, in, offset, count);
        if (conn != NULL)
            conn_release(conn);
    }
    if (UNLIKELY(conn_of(in) != NULL)) /* into a pipe; the rest is refused by splice as well */
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

/* Waits for a pipe unless told not to: 0, or -1 and errno. moved: as above. */
static int pipe_ready(int pipe, short events, bool wait, bool moved) {
    int interrupted, n;
    do
        n = sleeper_poll(pipe, events, wait ? FOR_EVER : 0, !moved, &interrupted);
    while (n < 0 && interrupted == ERESTART);
    return n > 0 ? 0 : (int)fail(n == 0 ? EAGAIN : interrupted != 0 ? interrupted : errno);
}

/* The pipe takes the buffer's pages, which nobody writes to again; and never sleeps, whoever else writes to it. */
static ssize_t give_pages(void *about, const void *data, size_t bytes) {
    struct iovec pages = {(void *)data, bytes};
    return (ssize_t)real_syscall(SYS_vmsplice, *(int *)about, &pages, 1ul, (unsigned long)SPLICE_F_NONBLOCK);
}

/* What is there now, but no more than the pipe takes. */
static ssize_t pass(int in, int pipe, size_t most) {
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
        if (pipe_ready(pipe, POLLOUT, waits && total == 0, total != 0) != 0)
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

/* What is there now; never sleeps, whoever else reads from the pipe. */
static ssize_t take_from_pipe(void *about, void *data, size_t bytes) {
    struct iovec place = {data, bytes};
    ssize_t got = (ssize_t)real_syscall(SYS_preadv2, *(int *)about, &place, 1ul, -1l, -1l, (long)RWF_NOWAIT);
    if (got < 0 && errno == EOPNOTSUPP) /* before Linux 6.4: another reader may make it wait */
        got = (ssize_t)real_syscall(SYS_read, *(int *)about, data, bytes);
    return got;
}

static ssize_t by_kernel(int pipe, int out, size_t count, bool waits) {
    struct opening opening;
    handlers_open(&opening);
    ssize_t moved = splice(pipe, NULL, out, NULL, count, waits ? 0 : SPLICE_F_NONBLOCK);
    handlers_close(&opening);
    return moved;
}

/* Bytes are taken from the pipe only when the connection has room for them. */
static ssize_t copy_from_pipe(struct conn *conn, int pipe, int out, size_t count, bool waits, const struct room *room) {
    size_t total = 0;
    while (total < count) {
        bool wait = waits && total == 0;
        if (UNLIKELY(conn_phase(conn) == CONN_PLAIN))
            return total != 0 ? (ssize_t)total : by_kernel(pipe, out, count, waits);
        if (stream_write(conn, NULL, 0, 0) < 0) { /* before the pipe counts */
            if (errno == EPIPE && total == 0)
                signals_broken_pipe();
            break;
        }
        if (pipe_ready(pipe, POLLIN, wait, total != 0) != 0)
            break;
        size_t piece = count - total < room->bytes ? count - total : room->bytes;
        ssize_t moved = stream_fill(conn, room->data, piece, take_from_pipe, &pipe);
        if (moved > 0) {
            doorbell_ring_if_armed(conn, VN_ARMED_DATA);
            conn->writes++;
            total += (size_t)moved;
        } else if (moved == 0 && !(stream_events(conn, POLLOUT) & POLLOUT)) {
            if (!wait)
                errno = EAGAIN;
            if (!wait || wait_for_room(conn, out, false) != 0)
                break;
        } else if (moved == 0) { /* no writers are left */
            return (ssize_t)total;
        } else if (errno != EAGAIN || !wait) {
            break;
        }
    }
    return total != 0 ? (ssize_t)total : -1;
}

static ssize_t from_pipe(int pipe, int out, size_t count, bool waits) {
    struct conn *conn = conn_hold(out);
    struct room room;
    if (conn == NULL)
        return fail(EBADF);
    ssize_t moved = take_room(&room, count) ? copy_from_pipe(conn, pipe, out, count, waits, &room) : -1;
    if (room.data != NULL)
        give_room_back(&room);
    int saved = errno;
    conn_release(conn);
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
    HANDLERS_WAIT();
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
