/* A connection: see conn.h. */
#include "stream/conn.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/real.h"
#include "base/sockaddr.h"
#include "fdtable/hidden.h"
#include "memory/debug.h"
#include "memory/region.h"
#include "stream/large.h"

/* of SO_BUF_LOCK: what the program has set; <linux/socket.h> can't be had beside the C library's */
#ifndef SOCK_SNDBUF_LOCK
#define SOCK_SNDBUF_LOCK 1
#define SOCK_RCVBUF_LOCK 2
#endif
#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK 72
#endif

#define PINNED_NS (6 * SECOND_NS)

_Atomic int conn_young;

static void conn_destroy(struct entry *entry) {
    struct conn *conn = (struct conn *)entry;
    int saved = errno;
    if (conn_phase(conn) < CONN_DIRECT)
        atomic_fetch_sub(&conn_young, 1);
    if (conn->doorbell >= 0)
        hidden_close(conn->doorbell);
    if (conn->tcp >= 0)
        hidden_close(conn->tcp);
    large_close(conn);
    region_unmap(conn->peer);
    region_unmap(conn->own);
    entry_free(entry);
    errno = saved;
}

struct conn *conn_new(struct vn_region *own, int doorbell, enum phase phase) {
    static _Atomic uint32_t serial;
    struct conn *conn = (struct conn *)entry_new(ENTRY_CONN, sizeof(*conn), conn_destroy);
    if (conn == NULL)
        return NULL;
    conn->own = own;
    conn->doorbell = doorbell;
    conn->tcp = -1;
    conn->serial = atomic_fetch_add(&serial, 1) + 1;
    conn->offered_at = now_ns();
    atomic_store(&conn->phase, phase);
    if (phase < CONN_DIRECT)
        atomic_fetch_add(&conn_young, 1);
    return conn;
}

static const char *const phase_names[] = {"connecting", "offered", "direct", "broken", "plain"};

/* Which phase may follow which. */
static const bool allowed[CONN_PLAIN + 1][CONN_PLAIN + 1] = {
    [CONN_CONNECTING] = {[CONN_OFFERED] = true, [CONN_BROKEN] = true, [CONN_PLAIN] = true},
    [CONN_OFFERED] = {[CONN_DIRECT] = true, [CONN_BROKEN] = true, [CONN_PLAIN] = true},
    [CONN_DIRECT] = {[CONN_BROKEN] = true},
};

bool conn_set_phase(struct conn *conn, enum phase from, enum phase to) {
    int expected = from;
    if (!allowed[from][to])
        abort();
    if (!atomic_compare_exchange_strong(&conn->phase, &expected, to))
        return false;
    if (from < CONN_DIRECT && to >= CONN_DIRECT)
        atomic_fetch_sub(&conn_young, 1);
    debug_phase(conn->serial, conn->own, phase_names[from], phase_names[to]);
    return true;
}

bool conn_break(struct conn *conn, int error) {
    for (;;) {
        enum phase phase = conn_phase(conn);
        if (phase >= CONN_BROKEN)
            return false;
        if (error != 0)
            atomic_store(&conn->own->error, error);
        if (!conn_set_phase(conn, phase, CONN_BROKEN))
            continue;
        /* the other processes see by it that the error was reported, or is there to be taken */
        if (conn->own->forked)
            atomic_fetch_or(&conn->own->state, VN_RESET);
        return true;
    }
}

void conn_abort(struct conn *conn) {
    atomic_fetch_or(&conn->own->state, VN_CLOSED | VN_RESET);
    conn_break(conn, ECONNABORTED);
}

int conn_descriptor(const struct conn *conn, int fd) {
    if (LIKELY(entry_of(fd) == &conn->entry))
        return fd;
    return entry_has_descriptors(&conn->entry) ? entry_descriptor(&conn->entry, 0) : conn->tcp;
}

int conn_pin(struct conn *conn, int fd) {
    atomic_fetch_add(&conn->pins, 1);
    atomic_thread_fence(memory_order_seq_cst);
    return conn_descriptor(conn, fd);
}

void conn_unpin(struct conn *conn) {
    atomic_fetch_sub(&conn->pins, 1);
}

/* The number was taken out of the table before, so whoever pins now does not find it. A fall back holds it longest, while
 * the other end's kernel takes the bytes. */
void conn_wait_unpinned(struct conn *conn) {
    struct timespec nap = {0, 50000};
    atomic_thread_fence(memory_order_seq_cst);
    if (LIKELY(atomic_load(&conn->pins) == 0))
        return;
    uint64_t deadline = now_ns() + PINNED_NS;
    while (atomic_load(&conn->pins) != 0 && now_ns() < deadline) /* its thread may have been cancelled */
        real_syscall(SYS_nanosleep, &nap, NULL);
}

/* What the kernel would report, which it then forgets. */
static int pending_error(struct conn *conn, int fd) {
    int error = 0, tcp = conn_pin(conn, fd);
    socklen_t length = sizeof(error);
    if (tcp < 0 || real_getsockopt(tcp, SOL_SOCKET, SO_ERROR, &error, &length) != 0)
        error = 0;
    conn_unpin(conn);
    return error;
}

/* The other end's kernel has closed its TCP socket, so no process has it any more. Ours is never closed as long as we look. */
static bool tcp_has_ended(struct conn *conn, int fd) {
    struct tcp_info info;
    socklen_t length = sizeof(info.tcpi_state);
    int tcp = conn_pin(conn, fd);
    bool known = tcp >= 0 && real_getsockopt(tcp, IPPROTO_TCP, TCP_INFO, &info, &length) == 0;
    conn_unpin(conn);
    if (!known)
        return false;
    if (info.tcpi_state == TCP_CLOSE) {
        atomic_store(&conn->peer_reset, true);
        if (pending_error(conn, fd) == ECONNABORTED)
            conn_abort(conn);
    }
    return info.tcpi_state == TCP_CLOSE_WAIT || info.tcpi_state == TCP_LAST_ACK || info.tcpi_state == TCP_CLOSING ||
           info.tcpi_state == TCP_CLOSE || info.tcpi_state == TCP_TIME_WAIT;
}

/* The doorbell tells it at once but for the first moments, when the broker may still have a copy of the other end. */
bool conn_has_ended(struct conn *conn, int fd) {
    struct pollfd doorbell = {conn->doorbell, POLLRDHUP, 0};
    int saved = errno;
    if (!atomic_load(&conn->peer_gone)) {
        bool tcp = conn_phase(conn) == CONN_DIRECT && tcp_has_ended(conn, fd); /* it knows of a reset as well */
        if (tcp || quiet_look(&doorbell, 1) > 0)
            atomic_store(&conn->peer_gone, true);
    }
    errno = saved;
    return atomic_load(&conn->peer_gone);
}

void conn_note_end(struct conn *conn, int fd) {
    int saved = errno;
    tcp_has_ended(conn, fd); /* for a reset */
    atomic_store(&conn->peer_gone, true);
    errno = saved;
}

uint64_t inode_of(int fd) {
    struct stat status;
    return fstat(fd, &status) == 0 ? status.st_ino : 0;
}

bool conn_is_under(const struct conn *conn, int fd) {
    struct stat status;
    int saved = errno;
    bool same = fstat(fd, &status) == 0 && S_ISSOCK(status.st_mode) && status.st_ino == conn->inode;
    errno = saved;
    return same;
}

static uint32_t number_of(int fd, int option) {
    int number = 0;
    socklen_t length = sizeof(number);
    return real_getsockopt(fd, SOL_SOCKET, option, &number, &length) == 0 ? (uint32_t)number : 0;
}

/* The kernel reports 0 for no time-out and for one that is over at once (a negative one), which stays as it is. */
static void read_timeout(_Atomic uint64_t *timeout_ns, int fd, int option) {
    uint64_t reported = socket_timeout_ns(fd, option);
    if (reported != 0 || atomic_load_explicit(timeout_ns, memory_order_relaxed) != CONN_AT_ONCE_NS)
        atomic_store_explicit(timeout_ns, reported, memory_order_relaxed);
}

void conn_read_options(struct conn *conn, int fd) {
    struct vn_region *own = conn->own;
    uint32_t set = number_of(fd, SO_BUF_LOCK); /* a kernel before 5.16 doesn't say: then nothing is bounded */
    uint32_t low_water = number_of(fd, SO_RCVLOWAT);
    own->send_buffer = set & SOCK_SNDBUF_LOCK ? number_of(fd, SO_SNDBUF) : 0;
    own->receive_buffer = set & SOCK_RCVBUF_LOCK ? number_of(fd, SO_RCVBUF) : 0;
    own->low_water = low_water > 1 ? low_water : 0;
    read_timeout(&own->receive_timeout_ns, fd, SO_RCVTIMEO);
    read_timeout(&own->send_timeout_ns, fd, SO_SNDTIMEO);
    own->nonblocking = (real_fcntl(fd, F_GETFL) & O_NONBLOCK) != 0;
}

int conn_take_error(struct conn *conn) {
    return atomic_load_explicit(&conn->own->error, memory_order_relaxed) != 0 ? atomic_exchange(&conn->own->error, 0)
                                                                              : 0;
}

void conn_give_back_error(struct conn *conn, int error) {
    if (conn_phase(conn) == CONN_BROKEN && error == ECONNRESET)
        atomic_store(&conn->own->error, error);
}
