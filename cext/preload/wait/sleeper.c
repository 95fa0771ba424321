/* A thread's own place to sleep for connections: see sleeper.h. */
#include "wait/sleeper.h"

#include "base/process.h"
#include "base/real.h"
#include "base/signals.h"
#include "fdtable/hidden.h"
#include "fdtable/kick.h"
#include "handshake/progress.h"
#include "stream/doorbell.h"
#include "wait/stay.h"

struct sleeper {
    int epoll;
    uint32_t number; /* of this sleeper and no other */
    pid_t process;
};

#define OF_TCP 0x80000000ull /* in an event's data: the TCP socket, not the doorbell */
#define OF_KICK UINT64_MAX

static __thread struct sleeper own = {.epoll = -1};
static _Atomic uint32_t numbers;

static void thread_ends(void) {
    if (own.epoll >= 0 && own.process == process_id)
        hidden_close(own.epoll);
    own.epoll = -1;
}

void sleeper_init(void) {
    stay_at_thread_end(thread_ends);
}

/* The forking thread's epoll is the parent's as well: an edge that one takes, the other does not see. */
static void leave_to_parent(void) {
    if (own.epoll >= 0 && is_hidden(own.epoll))
        hidden_close(own.epoll);
    own.epoll = -1;
}

void sleeper_after_fork(void) {
    leave_to_parent();
}

struct sleeper *sleeper_mine(void) {
    if (LIKELY(own.epoll >= 0 && own.process == process_id))
        return &own;
    leave_to_parent();
    struct epoll_event event = {EPOLLIN | EPOLLET, {.u64 = OF_KICK}};
    int kick = kick_descriptor(), epoll = kick >= 0 && !hidden_is_full() ? quiet_epoll() : -1;
    if (epoll < 0 || (epoll = hide(epoll)) < 0)
        return NULL;
    if (real_epoll_ctl(epoll, EPOLL_CTL_ADD, kick, &event) != 0) {
        hidden_close(epoll);
        return NULL;
    }
    own = (struct sleeper){epoll, atomic_fetch_add(&numbers, 1) + 1, process_id};
    return &own;
}

int sleeper_descriptor(const struct sleeper *sleeper) {
    return sleeper->epoll;
}

static bool watch_one(int epoll, int fd, uint32_t events, uint64_t data) {
    struct epoll_event event = {events, {.u64 = data}};
    return real_epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0 ||
           (errno == EEXIST && real_epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event) == 0);
}

bool sleeper_watch(struct sleeper *sleeper, struct conn *conn, int fd) {
    enum phase phase = conn_phase(conn);
    uint64_t data = (uint64_t)conn->serial << 32;
    if (LIKELY(phase >= CONN_DIRECT && atomic_load_explicit(&conn->sleeper, memory_order_relaxed) == sleeper->number))
        return true;
    int saved = errno, tcp = conn_pin(conn, fd);
    bool watched = watch_one(sleeper->epoll, conn->doorbell, EPOLLIN | EPOLLRDHUP | EPOLLET, data);
    if (tcp >= 0)
        watch_one(sleeper->epoll, tcp, (phase == CONN_CONNECTING ? EPOLLOUT : EPOLLIN) | EPOLLET, data | OF_TCP);
    conn_unpin(conn);
    if (watched && phase >= CONN_DIRECT)
        atomic_store_explicit(&conn->sleeper, sleeper->number, memory_order_relaxed);
    errno = saved;
    return watched;
}

static int translate(const struct epoll_event *events, int count, struct wake *wakes) {
    for (int i = 0; i < count; i++) {
        uint64_t data = events[i].data.u64;
        bool tcp = data != OF_KICK && (data & OF_TCP);
        wakes[i] = (struct wake){data == OF_KICK ? 0 : (uint32_t)(data >> 32),
                                 !tcp && (events[i].events & (EPOLLHUP | EPOLLRDHUP)), tcp};
    }
    return count;
}

int sleeper_collect(struct sleeper *sleeper, struct wake *wakes) {
    struct epoll_event events[MOST_WAKES];
    int saved = errno, count = quiet_events(sleeper->epoll, events, MOST_WAKES);
    errno = saved;
    return translate(events, count, wakes);
}

int sleeper_ppoll(struct pollfd *fds, nfds_t count, uint64_t timeout, const sigset_t *mask,
                  enum interruption *interruption) {
    struct opening opening;
    struct timespec time;
    bool is_over = handlers_open(&opening);
    int result = real_ppoll(fds, count, timespec_of(is_over ? 0 : timeout, &time), mask);
    *interruption = handlers_close(&opening);
    if (result == 0 && is_over) {
        errno = EINTR;
        result = -1;
    }
    return result;
}

/* What TCP makes of a handler that has run in a call: 0, EINTR, ERESTART. */
static int error_of(enum interruption interruption, bool restarts) {
    if (interruption == INTERRUPTION_NONE)
        return 0;
    return restarts && interruption == INTERRUPTION_RESTARTS ? ERESTART : EINTR;
}

int sleeper_poll(int fd, short events, uint64_t timeout, bool restarts, int *interrupted) {
    struct pollfd one = {fd, events, 0};
    enum interruption interruption;
    int count = sleeper_ppoll(&one, 1, timeout, NULL, &interruption);
    if (count < 0 && errno == EINTR && interruption == INTERRUPTION_NONE) /* by a handler that is unknown here */
        interruption = signals_all_restart() ? INTERRUPTION_RESTARTS : INTERRUPTION_ENDS;
    *interrupted = error_of(interruption, restarts);
    return count;
}

int sleeper_sleep(struct sleeper *sleeper, struct wake *wakes, uint64_t timeout, bool restarts, int *interrupted) {
    /* By poll, which takes nothing: a handler that jumps out of it leaves the edges to the next sleep. It also goes on by
     * itself after a stop, as TCP's calls do. */
    int count = sleeper_poll(sleeper->epoll, POLLIN, timeout, restarts, interrupted);
    return count <= 0 ? count : sleeper_collect(sleeper, wakes);
}

bool sleeper_heed(struct conn *conn, int fd, const struct wake *wake) {
    if (wake->serial != conn->serial)
        return false;
    if (wake->ended)
        conn_note_end(conn, fd);
    if (wake->tcp)
        progress_look_at_tcp(conn, fd);
    return true;
}

/* Under a new number it watches every connection anew, which makes the kernel look at each. */
void sleeper_unheeded(struct sleeper *sleeper, const struct wake *wake) {
    if (wake->ended || wake->tcp)
        sleeper->number = atomic_fetch_add(&numbers, 1) + 1;
}

struct timespec *timespec_of(uint64_t ns, struct timespec *room) {
    if (ns == FOR_EVER)
        return NULL;
    room->tv_sec = (time_t)(ns / SECOND_NS);
    room->tv_nsec = (long)(ns % SECOND_NS);
    return room;
}

int sleeper_nap(uint64_t most, bool restarts, int *interrupted) {
    return sleeper_poll(-1, 0, most < NAP_NS ? most : NAP_NS, restarts, interrupted);
}
