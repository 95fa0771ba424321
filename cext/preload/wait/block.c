/* A blocking call's wait for one connection: look, poll for a while, then arm, look once more, sleep, disarm.
 *
 * Nothing that outlives the call may depend on its return: a handler may jump out of it, and the thread may be cancelled.
 * What the call holds - the connection, a place in `armed`, and that it is blocked, which keeps a close in another thread
 * from ending the connection - stands in a record of the thread. The next call of the thread that finds the record of a
 * frame that is gone gives it all back, and so does the thread's end. */
#include "wait/block.h"

#include <poll.h>
#include <signal.h>

#include "base/real.h"
#include "handshake/goodbye.h"
#include "handshake/progress.h"
#include "stream/deaths.h"
#include "stream/doorbell.h"
#include "stream/ring.h"
#include "wait/sleeper.h"
#include "wait/spin.h"

#define MOST_AWAITED (VN_RING_BYTES / 4 * 3)   /* of a larger number of bytes, the rest may not have room */

struct want {
    unsigned events;
    size_t bytes;   /* that must be there for POLLIN; 0: as poll has it */
    bool partial;
};

static bool is_true(struct conn *conn, struct want want) {
    unsigned events = stream_events(conn, want.events);
    if (want.bytes != 0 && !(events & (POLLERR | POLLHUP | POLLRDHUP)) && conn_phase(conn) != CONN_PLAIN)
        return stream_readable(conn) >= (want.bytes < MOST_AWAITED ? want.bytes : MOST_AWAITED);
    return events != 0 || conn_phase(conn) == CONN_PLAIN;
}

/* The blocking call that this thread is in; one that a handler makes lies inside another. */
struct stay {
    struct conn *conn;
    unsigned armed;
    const volatile uint64_t *mark;   /* in its frame, with the value `number` as long as that is not used for others */
    uint64_t number;
};
static __thread struct stay staying;
static __thread uint64_t marks = 0x5d0c0ull << 40;

static void leave(const struct stay *stay) {
    if (stay->armed != 0)
        doorbell_disarm(stay->conn, stay->armed);
    atomic_fetch_sub(&stay->conn->blocked, 1);
}

void block_done(struct conn *conn) {
    if (UNLIKELY(atomic_load_explicit(&conn->goodbye_owed, memory_order_relaxed)) && atomic_load(&conn->blocked) == 0)
        goodbye_last(conn);
}

static void give_back(void) {
    struct stay gone = staying;
    staying.conn = NULL;
    if (gone.conn == NULL)
        return;
    leave(&gone);
    block_done(gone.conn);
    conn_release(gone.conn);   /* the hook's, which has not returned either */
}

/* Whether the recorded frame is gone: others have its place, or it lies above all that run now, unless these have another
 * stack. */
static bool is_gone(void) {
    stack_t stack;
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    if (sigaltstack(NULL, &stack) == 0 && (stack.ss_flags & SS_ONSTACK))
        return false;
    return here >= (uintptr_t)staying.mark || *staying.mark != staying.number;
}

void block_settle(void) {
    if (UNLIKELY(staying.conn != NULL) && is_gone())
        give_back();
}

void block_thread_ends(void) {
    give_back();
}

static uint64_t time_left(uint64_t deadline) {
    uint64_t now = now_ns();
    return deadline == 0 ? FOR_EVER : deadline > now ? deadline - now : 0;
}

/* Sleeps once, armed; -1 and EINTR, ERESTART. */
static int sleep_once(struct conn *conn, int fd, uint64_t deadline, bool partial) {
    struct sleeper *sleeper = sleeper_mine();
    struct wake wakes[MOST_WAKES];
    uint64_t left = time_left(deadline), due = progress_due(conn);
    bool nap = sleeper == NULL || !sleeper_watch(sleeper, conn, fd);
    if (due != 0 && time_left(due) < left)
        left = time_left(due);
    if (nap) {
        struct timespec time;
        conn_has_ended(conn, fd);
        return real_ppoll(NULL, 0, timespec_of(left < NAP_NS ? left : NAP_NS, &time), NULL) < 0 ? -1 : 0;
    }
    atomic_fetch_add_explicit(&conn->own->sleeps, 1, memory_order_relaxed);
    int count = sleeper_sleep(sleeper, wakes, left, deadline == 0 && !partial);
    for (int i = 0; i < count; i++)
        if (!sleeper_heed(conn, fd, &wakes[i]))
            sleeper_unheeded(sleeper, &wakes[i]);
    sleeper_heeded(sleeper);
    if (count < 0 && errno == ERESTART)
        return entry_of(fd) == &conn->entry ? 0 : -1;
    return count < 0 ? -1 : 0;
}

static int sleep_armed(struct conn *conn, int fd, struct want want, uint64_t deadline, struct spin *spin) {
    uint64_t before = now_ns();
    int result = 0;
    doorbell_arm(conn, staying.armed = want.events);
    if (!is_true(conn, want)) {
        result = sleep_once(conn, fd, deadline, want.partial);
        spin_slept(spin, now_ns() - before);
    }
    doorbell_disarm(conn, want.events);
    staying.armed = 0;
    doorbell_keep_short(conn);
    return result;
}

static int wait_sleeping(struct conn *conn, int fd, struct want want, uint64_t deadline_ns, struct spin *spin) {
    for (;;) {
        int result = -1, error = EAGAIN;
        if (deadline_ns == 0 || now_ns() < deadline_ns) {
            result = sleep_armed(conn, fd, want, deadline_ns, spin);
            error = errno;
        }
        progress_serve(conn, fd);
        if (is_true(conn, want))
            return 0;
        if (result < 0) {
            errno = error;
            return -1;
        }
    }
}

static int wait_for(struct conn *conn, int fd, struct want want, uint64_t deadline_ns) {
    struct spin spin;
    spin_start(&spin, &conn->poll_ns);
    do {
        if (conn_phase(conn) < CONN_DIRECT && spin.looks % LOOKS_A_YIELD == 0)
            progress_serve(conn, fd);   /* the answer comes by the doorbell, not by memory */
        if (is_true(conn, want))
            return 0;
    } while (spin_on(&spin));
    block_settle();
    struct stay outer = staying;
    atomic_fetch_add(&conn->blocked, 1);
    volatile uint64_t mark = ++marks;
    staying = (struct stay){conn, 0, &mark, mark};
    int result = wait_sleeping(conn, fd, want, deadline_ns, &spin), saved = errno;
    struct stay own = staying;
    staying = outer;
    mark = 0;
    leave(&own);
    errno = saved;
    return result;
}

int block(struct conn *conn, int fd, unsigned events, uint64_t deadline_ns, bool partial) {
    return wait_for(conn, fd, (struct want){events | POLLERR | POLLHUP, 0, partial}, deadline_ns);
}

int block_for_bytes(struct conn *conn, int fd, size_t bytes, uint64_t deadline_ns, bool partial) {
    return wait_for(conn, fd, (struct want){POLLIN | POLLERR | POLLHUP | POLLRDHUP, bytes, partial}, deadline_ns);
}

void block_look(struct conn *conn, int fd) {
    if (UNLIKELY(conn_phase(conn) < CONN_DIRECT))
        progress_serve(conn, fd);
    if (conn_phase(conn) == CONN_DIRECT)
        deaths_look_by_time(conn, fd);
}
