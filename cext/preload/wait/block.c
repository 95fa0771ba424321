/* A blocking call's wait for one connection: look, poll for a while, then arm, look once more, sleep, disarm.
 *
 * What it holds is the connection, a place in `armed`, and that it is blocked, which keeps a close in another thread from
 * ending the connection. */
#include "wait/block.h"

#include <poll.h>

#include "base/real.h"
#include "base/signals.h"
#include "handshake/goodbye.h"
#include "handshake/progress.h"
#include "stream/deaths.h"
#include "stream/doorbell.h"
#include "stream/ring.h"
#include "wait/sleeper.h"
#include "wait/spin.h"
#include "wait/stay.h"

#define MOST_AWAITED (VN_RING_BYTES / 4 * 3) /* of a larger number of bytes, the rest may not have room */

struct want {
    unsigned events;
    size_t bytes; /* that must be there for POLLIN; 0: as poll has it */
    bool partial;
};

static bool is_true(struct conn *conn, struct want want) {
    unsigned events = stream_events(conn, want.events);
    if (want.bytes != 0 && !(events & (POLLERR | POLLHUP | POLLRDHUP)) && conn_phase(conn) != CONN_PLAIN)
        return stream_readable(conn) >= (want.bytes < MOST_AWAITED ? want.bytes : MOST_AWAITED);
    return events != 0 || conn_phase(conn) == CONN_PLAIN;
}

/* Some of the bytes are there, or have been moved: then any handler ends the call, with those. */
static bool has_part(struct conn *conn, struct want want) {
    return want.partial || (want.bytes != 0 && stream_readable(conn) != 0);
}

void block_done(struct conn *conn) {
    if (UNLIKELY(atomic_load_explicit(&conn->goodbye_owed, memory_order_relaxed)) && atomic_load(&conn->blocked) == 0)
        goodbye_last(conn);
}

static void disarm(struct stay *stay) {
    if (stay->armed != 0)
        doorbell_disarm(stay->what, stay->armed);
    stay->armed = 0;
}

static void unblock(struct stay *stay) {
    struct conn *conn = stay->what;
    disarm(stay);
    atomic_fetch_sub(&conn->blocked, 1);
}

static void leave(struct stay *stay) {
    struct conn *conn = stay->what;
    unblock(stay);
    block_done(conn);
    conn_release(conn); /* the hook's, which has not returned either */
}

static uint64_t time_left(uint64_t deadline) {
    uint64_t now = now_ns();
    return deadline == 0 ? FOR_EVER : deadline > now ? deadline - now : 0;
}

/* How a sleep ended: by what it was for, perhaps, or by nothing but a handler (EINTR, ERESTART), or both. */
struct slept {
    bool woken;
    int interrupted;
};

static struct slept sleep_once(struct conn *conn, int fd, uint64_t deadline, bool partial) {
    struct sleeper *sleeper = sleeper_mine();
    struct wake wakes[MOST_WAKES];
    uint64_t left = time_left(deadline), due = progress_due(conn);
    bool restarts = deadline == 0 && !partial, nap = sleeper == NULL || !sleeper_watch(sleeper, conn, fd);
    struct slept slept;
    if (due != 0 && time_left(due) < left)
        left = time_left(due);
    if (nap) {
        conn_has_ended(conn, fd);
        slept.woken = sleeper_nap(left, restarts, &slept.interrupted) >= 0;
        return slept;
    }
    atomic_fetch_add_explicit(&conn->own->sleeps, 1, memory_order_relaxed);
    int count = sleeper_sleep(sleeper, wakes, left, restarts, &slept.interrupted);
    for (int i = 0; i < count; i++)
        if (!sleeper_heed(conn, fd, &wakes[i]))
            sleeper_unheeded(sleeper, &wakes[i]);
    slept.woken = count >= 0;
    return slept;
}

static struct slept sleep_armed(struct stay *stay, int fd, struct want want, uint64_t deadline, struct spin *spin) {
    struct conn *conn = stay->what;
    uint64_t before = now_ns();
    struct slept slept = {true, 0};
    doorbell_arm(conn, stay->armed = want.events);
    if (handlers.waiting != 0 || !is_true(conn, want)) {
        slept = sleep_once(conn, fd, deadline, has_part(conn, want));
        spin_slept(spin, now_ns() - before);
    }
    disarm(stay);
    doorbell_keep_short(conn);
    return slept;
}

static int fail(int error) {
    errno = error;
    return -1;
}

static int wait_sleeping(struct stay *stay, int fd, struct want want, uint64_t deadline_ns, struct spin *spin) {
    struct conn *conn = stay->what;
    for (;;) {
        bool late = deadline_ns != 0 && now_ns() >= deadline_ns;
        struct slept slept = late ? (struct slept){true, EAGAIN} : sleep_armed(stay, fd, want, deadline_ns, spin);
        if (!slept.woken && slept.interrupted == EINTR) /* what its handler brought about comes after it */
            return fail(EINTR);
        progress_serve(conn, fd);
        if (is_true(conn, want))
            return 0;
        bool changed = entry_of(fd) != &conn->entry || conn_is_nonblocking(conn);
        if (slept.interrupted == ERESTART && has_part(conn, want)) /* they have come meanwhile */
            return fail(EINTR);
        if (slept.interrupted != 0 && (slept.interrupted != ERESTART || changed))
            return fail(slept.interrupted);
    }
}

static int wait_for(struct conn *conn, int fd, struct want want, uint64_t deadline_ns) {
    struct spin spin;
    spin_start(&spin, &conn->poll_ns);
    do {
        if (conn_phase(conn) < CONN_DIRECT && spin.looks % LOOKS_A_YIELD == 0)
            progress_serve(conn, fd); /* the answer comes by the doorbell, not by memory */
        if (is_true(conn, want)) {
            spin_paid(&spin);
            return 0;
        }
    } while (handlers.waiting == 0 && spin_on(&spin)); /* one that waits ends the call, or runs in its sleep */
    struct mark mark;
    struct stay *stay = stay_begin(&mark, leave, conn);
    atomic_fetch_add(&conn->blocked, 1);
    int result = wait_sleeping(stay, fd, want, deadline_ns, &spin), saved = errno;
    unblock(stay);
    stay_end(stay);
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
