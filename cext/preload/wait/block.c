/* Waiting for a connection: polls, then sleeps on its bell. Theory of operation: bell.c. */
#include "internal.h"
#include "parts.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SHARED_MS 20

static int timeout_until(uint64_t deadline) {
    uint64_t now = now_ns();
    return now >= deadline ? 0 : (int)((deadline - now + 999999) / 1000000);
}

/* The leader sleeps once, armed; -1 and EINTR. */
static int sleep_on_bell(struct conn *conn, int fd, uint64_t deadline, bool shared) {
    uint64_t due = conn_due(conn);
    bool for_ever = deadline == 0;
    char byte;
    if (due != 0 && (deadline == 0 || due < deadline))
        deadline = due;
    if (deadline == 0 && conn->phase == VN_DIRECT && !shared && !conn->nonblocking) {
        /* Not by poll: the kernel restarts this after a signal handler with SA_RESTART, as it would TCP's. */
        ssize_t got = real_recv(fd, &byte, 1, MSG_PEEK);
        if (got >= 0 || errno != EAGAIN)   /* the other end has the bell as well, and may have set O_NONBLOCK */
            return got < 0 && errno == EINTR ? -1 : 0;
    }
    struct pollfd fds[2];
    int count = bell_sources(conn, fd, 0, fds);
    int timeout = deadline != 0 ? timeout_until(deadline) : -1;
    if ((shared || conn->phase != VN_DIRECT) && (timeout < 0 || timeout > SHARED_MS))   /* it may be recalled */
        timeout = SHARED_MS;
    return real_poll(fds, (nfds_t)count, timeout) < 0 && errno == EINTR && !(for_ever && signals_restart()) ? -1 : 0;
}

static int follow(struct conn *conn, uint32_t turn, uint64_t deadline) {
    struct timespec left, *timeout = NULL;
    if (deadline != 0) {
        uint64_t now = now_ns(), ns = deadline > now ? deadline - now : 0;
        left = (struct timespec){(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
        timeout = &left;
    }
    atomic_fetch_add(&conn->followers, 1);
    long result = syscall(SYS_futex, &conn->turn, FUTEX_WAIT_PRIVATE, turn, timeout, NULL, 0);
    int error = errno;
    atomic_fetch_sub(&conn->followers, 1);
    errno = error;
    return result != 0 && error == EINTR ? -1 : 0;
}

static int sleep_once(struct conn *conn, int fd, uint32_t turn, uint64_t deadline) {
    int result = 0;
    if (!bell_lead(conn))
        return follow(conn, turn, deadline);
    if (atomic_load(&conn->turn) == turn)
        result = sleep_on_bell(conn, fd, deadline, conn->own->forked);
    int error = errno;
    bell_take_leading(conn, fd, true);
    bell_step_down(conn);
    errno = error;
    return result;
}

int conn_wait(struct conn *conn, int fd, unsigned events, uint64_t deadline_ns) {
    struct spin spin;
    events |= POLLERR | POLLHUP;
    spin_start(&spin, &conn->poll_ns);
    do {
        if (conn->phase != VN_DIRECT && spin.looks % LOOKS_A_YIELD == 0)
            bell_glance(conn, fd);   /* the answer comes by the bell, not by memory */
        if ((conn_events(conn) & events) || conn->phase == VN_PLAIN)
            return 0;
    } while (spin_on(&spin));
    for (;;) {
        uint64_t before = now_ns();
        uint32_t turn = atomic_load(&conn->turn);
        int result = 0;
        if (deadline_ns != 0 && before >= deadline_ns) {
            errno = EAGAIN;
            return -1;
        }
        bell_arm(conn, events);
        if (!(conn_events(conn) & events) && conn->phase != VN_PLAIN) {
            atomic_fetch_add_explicit(&conn->own->sleeps, 1, memory_order_relaxed);
            result = sleep_once(conn, fd, turn, deadline_ns);
            spin_slept(&spin, now_ns() - before);
        }
        bell_disarm(conn, events);
        conn_serve_due(conn, fd);
        if ((conn_events(conn) & events) || conn->phase == VN_PLAIN)
            return 0;
        if (result < 0) {
            errno = EINTR;
            return -1;
        }
    }
}
