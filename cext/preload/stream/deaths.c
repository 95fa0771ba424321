/* Whether the other end has died, for who does not sleep.
 *
 * Who sleeps is woken by a death. Who does not has to ask the kernel, and to ask for each connection every 0.1 ms costs two
 * system calls with nearly every message where there are many connections. So connections that are asked for again and
 * again are watched in one epoll of the process, and one system call reports all of them. It hears only of hang-ups:
 * bytes in the doorbells do not make it ready. As everywhere both the doorbell and the TCP socket are watched: see
 * conn_has_ended. */
#include "stream/deaths.h"

#include <sys/syscall.h>

#include "base/process.h"
#include "base/real.h"
#include "fdtable/hidden.h"

#define LOOKS_ALONE 8 /* with which a connection has shown that it will be used for a while */
#define MOST_DEATHS 16

static _Atomic int descriptor = -1;
static _Atomic uint64_t looked_at;

static int own_epoll(void) {
    int none = -1, fd = atomic_load_explicit(&descriptor, memory_order_relaxed);
    if (LIKELY(fd >= 0))
        return fd;
    if (process_is_borrowed() || (fd = quiet_epoll()) < 0 || (fd = hide(fd)) < 0)
        return -1;
    if (atomic_compare_exchange_strong(&descriptor, &none, fd))
        return fd;
    hidden_close(fd);
    return none;
}

static bool watch_one(int epoll, int fd, uint64_t data) {
    struct epoll_event event = {EPOLLRDHUP | EPOLLET, {.u64 = data}};
    return real_epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0 || errno == EEXIST;
}

/* The first look reports what has happened before. */
static void watch(struct conn *conn, int fd) {
    int epoll = own_epoll(), tcp = conn_pin(conn, fd);
    uint64_t data = (uint64_t)conn->serial << 32 | (uint32_t)tcp;
    if (epoll >= 0 && tcp >= 0 && watch_one(epoll, conn->doorbell, data) && watch_one(epoll, tcp, data))
        atomic_store(&conn->watched_for_death, true);
    conn_unpin(conn);
}

/* The descriptor may mean something else by now, and the connection have others. */
static struct conn *find(uint64_t data) {
    uint32_t serial = (uint32_t)(data >> 32);
    for (int fd = (int)(uint32_t)data, next = 0; next <= atomic_load(&entry_highest) + 1; fd = next++) {
        struct conn *conn = conn_hold(fd);
        if (conn != NULL && conn->serial == serial)
            return conn;
        if (conn != NULL)
            conn_release(conn);
    }
    return NULL;
}

static bool collect(void) {
    struct epoll_event events[MOST_DEATHS];
    int epoll = atomic_load_explicit(&descriptor, memory_order_relaxed);
    long count;
    do {
        count = real_syscall(SYS_epoll_pwait, epoll, events, MOST_DEATHS, 0, NULL, 0);
        for (long i = 0; i < count; i++) {
            struct conn *conn = find(events[i].data.u64);
            if (conn == NULL)
                continue;
            conn_has_ended(conn, (int)(uint32_t)events[i].data.u64);
            conn_release(conn);
        }
    } while (count == MOST_DEATHS);
    return count >= 0;
}

static bool is_watched(const struct conn *conn) {
    return atomic_load_explicit(&conn->watched_for_death, memory_order_relaxed);
}

static void look_alone(struct conn *conn, int fd) {
    if (++conn->death_looks % LOOKS_ALONE == 0 && conn_phase(conn) == CONN_DIRECT) /* and again, where that fails */
        watch(conn, fd);
    conn_has_ended(conn, fd);
}

void deaths_look(struct conn *conn, int fd, bool *asked) {
    int saved = errno;
    if (!is_watched(conn))
        look_alone(conn, fd);
    else if (!*asked)
        *asked = collect();
    errno = saved;
}

void deaths_look_since(struct conn *conn, int fd, uint64_t now, bool *asked) {
    _Atomic uint64_t *last = LIKELY(is_watched(conn)) ? &looked_at : &conn->looked_at;
    if (LIKELY(now - atomic_load_explicit(last, memory_order_relaxed) < ticks_few()))
        return;
    atomic_store_explicit(last, now, memory_order_relaxed);
    deaths_look(conn, fd, asked);
}

void deaths_look_by_time(struct conn *conn, int fd) {
    bool asked = false;
    deaths_look_since(conn, fd, ticks_now(), &asked);
}

void deaths_after_fork(void) { /* an edge that one process takes, the other does not see */
    int old = atomic_exchange(&descriptor, -1);
    if (old >= 0)
        hidden_close(old);
}
