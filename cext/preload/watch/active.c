/* Direct connections in an epoll: their doorbells in the inner one, the active list, and what others report of them. */
#include "watch/active.h"

#include "base/real.h"
#include "base/signals.h"
#include "stream/doorbell.h"
#include "watch/watch.h"

#define BUCKETS 4096

static pthread_mutex_t touch_lock = PTHREAD_MUTEX_INITIALIZER; /* over the hash; the innermost lock */
static struct watched *buckets[BUCKETS];                       /* by connection */

static struct watched **bucket(uint32_t serial) {
    return &buckets[serial % BUCKETS];
}

static void unlist(struct watched *watched) {
    if (!watched->listed)
        return;
    watched->next->previous = watched->previous;
    watched->previous->next = watched->next;
    watched->epoll->active_count--;
    watched->listed = false;
}

void watch_activate(struct watched *watched) {
    struct epoll *epoll = watched->epoll;
    if (watched->armed != 0) { /* a ring answers one arming: the next needs a new one */
        doorbell_disarm(watched->conn, watched->armed);
        watched->armed = 0;
    }
    watched->last = 0;
    if (watched->listed || watched->disabled)
        return;
    watched->next = &epoll->active;
    watched->previous = epoll->active.previous;
    watched->previous->next = epoll->active.previous = watched;
    epoll->active_count++;
    watched->listed = true;
}

void watch_park(struct watched *watched) {
    unlist(watched);
    if (watched->armed != 0)
        doorbell_disarm(watched->conn, watched->armed);
    watched->armed = 0;
    watched->parked = watched->disabled = true;
}

void watch_kick(struct epoll *epoll) {
    uint64_t one = 1;
    int saved = errno;
    if ((epoll_has_sleepers(epoll) || epoll->nested) && epoll->kick >= 0 &&
        quiet_write(epoll->kick, &one, sizeof(one)) < 0)
        errno = saved; /* the counter is full: it is readable */
}

/* An event's data is the connection's serial number: a doorbell that a child still has open may speak of one that is long
 * over here. The lowest bit: it is of the TCP socket. */
#define OF_TCP 1ull

static uint64_t data_of(const struct conn *conn) {
    return (uint64_t)conn->serial << 1;
}

static int add(struct epoll *epoll, int fd, uint32_t events, uint64_t data) {
    struct epoll_event event = {events, {.u64 = data}};
    int result = real_epoll_ctl(epoll->inner, EPOLL_CTL_ADD, fd, &event);
    if (result != 0 && errno == EEXIST) /* by another number of the same connection, or from before a MOD */
        result = real_epoll_ctl(epoll->inner, EPOLL_CTL_MOD, fd, &event);
    return result;
}

void watch_tcp(struct watched *watched) {
    int saved = errno;
    if (watched->tcp || watched->orphan)
        return;
    watched->tcp = true;
    add(watched->epoll, watched->fd, EPOLLIN | EPOLLET, data_of(watched->conn) | OF_TCP);
    errno = saved;
}

int watch(struct epoll *epoll, struct watched *watched, struct conn *conn) {
    int result = add(epoll, conn->doorbell, EPOLLIN | EPOLLRDHUP | EPOLLET, data_of(conn));
    if (result == 0 && conn_phase(conn) == CONN_CONNECTING) /* it reports a thing once */
        result = add(epoll, watched->fd, EPOLLOUT | EPOLLONESHOT, data_of(conn) | OF_TCP);
    if (result != 0) {
        int saved = errno;
        conn_release(conn);
        errno = saved;
        return -1;
    }
    watched->conn = conn;
    watched->was_more = true;
    atomic_store(&conn->notified_head, UINT64_MAX); /* who comes is notified of what is there */
    watched->armed = 0;
    watched->tcp = false;
    watched->seen = 0;
    watched->seen_head = watched->seen_tail = watched->seen_state = 0;
    mutex_lock(&touch_lock);
    watched->same = *bucket(conn->serial);
    *bucket(conn->serial) = watched;
    mutex_unlock(&touch_lock);
    atomic_fetch_add(&conn->watchers, 1);
    watch_activate(watched);
    watch_kick(epoll);
    return 0;
}

/* Takes it out of the hash; whether its epoll watches the same connection by another number. */
static bool leave_bucket(struct watched *watched) {
    bool others = false;
    mutex_lock(&touch_lock);
    for (struct watched **at = bucket(watched->conn->serial); *at != NULL;) {
        if (*at == watched) {
            *at = watched->same;
            continue;
        }
        others |= (*at)->conn == watched->conn && (*at)->epoll == watched->epoll;
        at = &(*at)->same;
    }
    mutex_unlock(&touch_lock);
    return others;
}

void unwatch(struct watched *watched, bool from_kernel) {
    struct conn *conn = watched->conn;
    int saved = errno;
    if (conn == NULL)
        return;
    bool others = leave_bucket(watched);
    watch_drain(watched->epoll); /* nobody can touch it any more; now it is in no list of those */
    unlist(watched);
    if (watched->armed != 0)
        doorbell_disarm(conn, watched->armed);
    if (!others)
        real_epoll_ctl(watched->epoll->inner, EPOLL_CTL_DEL, conn->doorbell, NULL);
    if (from_kernel)
        real_epoll_ctl(watched->epoll->inner, EPOLL_CTL_DEL, watched->fd, NULL);
    watched->armed = 0;
    watched->conn = NULL;
    watched->tcp = false;
    atomic_fetch_sub(&conn->watchers, 1);
    conn_release(conn);
    errno = saved;
}

struct conn *watch_rung(struct epoll *epoll, uint64_t data, int *fd, bool *tcp) {
    uint32_t serial = (uint32_t)(data >> 1);
    struct conn *found = NULL;
    *tcp = data & OF_TCP;
    mutex_lock(&touch_lock);
    for (struct watched *each = *bucket(serial); each != NULL; each = each->same)
        if (each->conn->serial == serial && each->epoll == epoll) {
            watch_activate(each);
            found = each->conn;
            *fd = each->fd;
        }
    if (found != NULL)
        entry_retain(&found->entry);
    mutex_unlock(&touch_lock);
    return found;
}

void watch_drain(struct epoll *epoll) {
    struct watched *each = atomic_load(&epoll->touched) == NULL ? NULL : atomic_exchange(&epoll->touched, NULL);
    while (each != NULL) {
        struct watched *next = each->touched_next;
        atomic_store(&each->touched, false);
        if (atomic_exchange(&each->anew, 0) & each->events)
            each->seen = 0;
        if (each->conn != NULL)
            watch_activate(each);
        each = next;
    }
}

static void touch(struct conn *conn, uint32_t anew) {
    mutex_lock(&touch_lock);
    for (struct watched *each = *bucket(conn->serial); each != NULL; each = each->same) {
        if (each->conn != conn)
            continue;
        struct epoll *epoll = each->epoll;
        atomic_fetch_or(&each->anew, anew); /* whether the entry is for these is seen with the epoll's lock */
        if (!atomic_exchange(&each->touched, true)) {
            each->touched_next = atomic_load(&epoll->touched);
            while (!atomic_compare_exchange_weak(&epoll->touched, &each->touched_next, each))
                ;
        }
        watch_kick(epoll);
    }
    mutex_unlock(&touch_lock);
}

void watch_touch(struct conn *conn) {
    touch(conn, 0);
}

void watch_touch_anew(struct conn *conn, uint32_t events) {
    touch(conn, events);
}

void active_before_fork(void) {
    mutex_lock(&touch_lock);
}

void active_after_fork_here(void) {
    mutex_unlock(&touch_lock);
}

void active_after_fork(void) {
    touch_lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
}
