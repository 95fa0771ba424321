/* What becomes of a connection when the program's descriptors come, are copied and go: see numbers.h.
 *
 * Programs close descriptors by ways that nobody sees: a system call of their own in assembler, a child's. Then the table
 * still has the connection under a number that the kernel gives to the next file. So every call that makes a descriptor
 * looks whether its number means something already (number_made), and the calls that are rare ask the kernel whether the
 * number is still the connection's socket (conn_hold_checked). */
#include "hooks/numbers.h"

#include <sys/resource.h>
#include <sys/single_threaded.h>
#include <unistd.h>

#include "base/process.h"
#include "base/real.h"
#include "base/signals.h"
#include "fdtable/hidden.h"
#include "fdtable/limit.h"
#include "fdtable/marks.h"
#include "handshake/goodbye.h"
#include "handshake/progress.h"
#include "relay/relay.h"
#include "stream/conn.h"
#include "wait/stay.h"
#include "watch/registry.h"
#include "watch/watch.h"

/* What was written and is not accepted yet must reach whoever accepts, with the library or without. */
static void deliver(struct conn *conn, int fd) {
    if (conn_phase(conn) == CONN_OFFERED && !conn->own->forked && atomic_load(&conn->own->head) != 0) {
        if (atomic_load(&conn->blocked) != 0) /* threads that sleep in a call on it keep the socket */
            conn->tcp = hide_copy(fd);
        progress_fall_back(conn, fd);
    }
}

/* is_open: the number is still what the table says it is; else it is another file's, which nothing here may touch. */
static void let_go(int fd, bool is_open) {
    bool last;
    HANDLERS_WAIT();
    stay_settle(); /* a handler may have jumped out of a call on it */
    struct conn *conn = is_open ? conn_hold(fd) : NULL;
    if (conn != NULL) {
        progress_serve(conn, fd);
        if ((atomic_load(&conn->entry.count) & ~ENTRY_LIVE) / ENTRY_DESCRIPTOR == 1)
            deliver(conn, fd);
        conn_release(conn);
    }
    struct entry *entry = entry_clear(fd, &last);
    conn = entry != NULL && entry->kind == ENTRY_CONN ? (struct conn *)entry : NULL;
    if (conn != NULL && is_open)
        conn_wait_unpinned(conn);
    watch_forget(fd, conn, last);
    mark_clear(fd);
    if (conn != NULL && last && !is_open)
        progress_serve(conn, -1); /* it may have been answered: what is unread then makes the close a reset */
    if (conn != NULL && last)
        goodbye(conn, is_open ? fd : -1);
    if (entry != NULL)
        entry_release(entry);
}

static _Atomic bool foreign; /* a child of vfork has other files under numbers that mean something here */

/* A child of vfork has descriptors of its own, but its parent's memory: the table must stay as the parent needs it. */
static bool is_borrowed(void) {
    if (LIKELY(!process_is_borrowed()))
        return false;
    atomic_store(&foreign, true);
    return true;
}

bool number_is_foreign(const struct conn *conn, int fd) {
    if (LIKELY(!atomic_load_explicit(&foreign, memory_order_relaxed)))
        return false;
    if (process_is_borrowed())
        return !conn_is_under(conn, fd);
    if (__libc_single_threaded) /* the only thread goes on, so the child has gone */
        atomic_store(&foreign, false);
    return false;
}

bool number_is_known(int fd) {
    return entry_of(fd) != NULL || epoll_watches(fd) || is_marked(fd, ~0u);
}

/* is_open: as for let_go. */
static void forget(int fd, bool is_open) {
    int saved = errno;
    if (entry_of(fd) == NULL && !epoll_watches(fd))
        mark_clear(fd);
    else
        let_go(fd, is_open);
    errno = saved;
}

void number_let_go(int fd) {
    if (UNLIKELY(number_is_known(fd)) && !is_borrowed())
        forget(fd, true);
}

static int refused(int fd) {
    quiet_close(fd);
    errno = EMFILE;
    return -1;
}

int number_made(int fd) {
    if (UNLIKELY(limit_is_reached(fd)))
        return refused(fd);
    if (UNLIKELY(fd >= 0 && number_is_known(fd)) && !is_borrowed())
        forget(fd, false);
    return fd;
}

int number_copied(int from, int fd) {
    if (fd < 0 || fd == from)
        return fd;
    if (UNLIKELY(number_made(fd) < 0))
        return -1;
    if (UNLIKELY(is_marked(from, MARK_PLAIN)))
        mark_set(fd, MARK_PLAIN);
    if (LIKELY(entry_of(from) == NULL)) {
        mark_set(from, MARK_COPIED);
        mark_set(fd, MARK_COPIED);
        if (is_marked(from, MARK_WATCHED) || epoll_watches(from)) /* for the kernel's epoll that is the same socket */
            mark_set(fd, MARK_WATCHED);
        return fd;
    }
    if (is_borrowed())
        return fd;
    int saved = errno;
    HANDLERS_WAIT();
    struct entry *entry = entry_hold(from);
    if (entry != NULL) {
        entry_set(fd, entry);
        /* The C library's stdio writes to these by calls that can't be taken over: bash does it with /dev/tcp. */
        if (fd <= STDERR_FILENO && entry->kind == ENTRY_CONN)
            relay_replace(fd);
        entry_release(entry);
    }
    errno = saved;
    return fd;
}

#define MOST_NUMBERS 65536u /* that are looked at for another one of a socket */

static bool has_other_number(int fd) {
    struct rlimit limit;
    uint64_t inode = inode_of(fd);
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur > MOST_NUMBERS)
        limit.rlim_cur = MOST_NUMBERS;
    for (int other = 0; other < (int)limit.rlim_cur; other++)
        if (other != fd && inode_of(other) == inode)
            return true;
    return false;
}

bool number_is_shared(int fd) {
    return mark_is_older_than_fork(fd) || (UNLIKELY(is_marked(fd, MARK_COPIED)) && has_other_number(fd));
}

struct conn *conn_hold_checked(int fd) {
    struct conn *conn = conn_hold(fd);
    if (LIKELY(conn == NULL) || conn_is_under(conn, fd))
        return conn;
    conn_release(conn);
    number_made(fd);
    return NULL;
}

bool number_is_waited_unseen(struct conn *conn, int fd) {
    if (LIKELY(conn_phase(conn) >= CONN_DIRECT || !conn->early || atomic_load(&epoll_waits_seen)))
        return false;
    if (!progress_fall_back(conn, fd))
        relay_replace(fd);
    return true;
}
