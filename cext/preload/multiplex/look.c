/* What is ready in an epoll, from memory: the active list, edges, and what has to be done before a sleep. */
#include "multiplex/look.h"

#include <poll.h>

#include "base/real.h"
#include "base/signals.h"
#include "handshake/progress.h"
#include "multiplex/nested.h"
#include "stream/deaths.h"
#include "stream/doorbell.h"
#include "stream/ring.h"
#include "watch/active.h"

#define MOST_YOUNG 16
#define MOST_RUNG 64

#define DATA_EVENTS ((uint32_t)(EPOLLIN | EPOLLRDNORM))

/* EPOLLEXCLUSIVE: the first epoll that is notified of data is the only one, until there is more. */
static uint32_t exclusive(struct watched *watched, uint32_t events, bool remember) {
    struct conn *conn = watched->conn;
    if (!(events & DATA_EVENTS) || events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR) || conn_phase(conn) != CONN_DIRECT)
        return events;
    const struct vn_region *peer = conn->peer;
    uint64_t head = atomic_load(&peer->head), notified = atomic_load(&conn->notified_head);
    if (notified == head)
        return atomic_load(&conn->notified_epoll) == watched->epoll ? events : events & ~DATA_EVENTS;
    if (!remember)
        return events;
    if (!atomic_compare_exchange_strong(&conn->notified_head, &notified, head))
        return events & ~DATA_EVENTS;
    atomic_store(&conn->notified_epoll, watched->epoll);
    return events;
}

/* What TCP sends a packet for, and so wakes who sleeps: a close after a shutdown is none, a death without one is. */
static uint32_t reported_state(struct conn *conn) {
    uint32_t state = conn->peer == NULL ? 0 : atomic_load(&conn->peer->state) & (VN_FIN | VN_RESET);
    if (UNLIKELY(state == (VN_FIN | VN_RESET)) && stream_is_closed(conn))
        state = VN_FIN;
    return state == 0 && atomic_load(&conn->peer_gone) ? VN_FIN : state;
}

/* What there is to report. The streams' positions are read before the events: what comes in between is then
 * reported twice rather than never. Whether the program ran into a full ring follows from how much the other end
 * had not read when we looked last: below that, EPOLLOUT was never untrue. */
static uint32_t news(struct watched *watched, bool remember) {
    struct conn *conn = watched->conn;
    if (LIKELY((watched->events & (EPOLLET | EPOLLEXCLUSIVE)) == 0))
        return stream_events(conn, watched->events);
    if (!(watched->events & EPOLLET))
        return exclusive(watched, stream_events(conn, watched->events), remember);
    const struct vn_region *peer = conn->peer;
    uint64_t head = peer == NULL ? 0 : atomic_load(&peer->head);
    uint64_t tail = peer == NULL || !(watched->events & OUT_EVENTS) ? 0 : atomic_load(&peer->tail);
    uint32_t state = reported_state(conn);
    bool was_full = watched->events & OUT_EVENTS &&
                    atomic_load(&conn->own->head) - watched->seen_tail > stream_writable(conn->own, peer);
    uint32_t now = stream_events(conn, watched->events);
    if (UNLIKELY(watched->events & EPOLLEXCLUSIVE))
        now = exclusive(watched, now, remember);
    uint32_t fresh = now & ~watched->seen;
    if (head != watched->seen_head && watched->events & IN_EVENTS) /* also where they were read meanwhile */
        fresh |= now;
    if (was_full && tail != watched->seen_tail)
        fresh |= now;
    if (state != watched->seen_state) /* TCP wakes all for this, and reports to each what is true */
        fresh |= now;
    if (remember) {
        watched->seen = now;
        watched->seen_head = head;
        watched->seen_tail = tail;
        watched->seen_state = state;
    }
    return fresh != 0 ? now : 0;
}

static void arm(struct watched *watched) {
    if (UNLIKELY(!watched->tcp && conn_phase(watched->conn) == CONN_DIRECT))
        watch_tcp(watched);
    unsigned wanted = watched->events & OUT_EVENTS && !(stream_events(watched->conn, POLLOUT) & POLLOUT) ? POLLOUT : 0;
    if (watched->events & (IN_EVENTS | EPOLLRDHUP | EPOLLET) || !(watched->events & OUT_EVENTS))
        wanted |= POLLIN;
    wanted &= ~watched->armed;
    if (wanted != 0)
        doorbell_arm(watched->conn, wanted);
    watched->armed |= wanted;
}

static void disarm(struct watched *watched) {
    doorbell_disarm(watched->conn, watched->armed);
    watched->armed = 0;
}

static void leave_list(struct watched *watched) {
    watched->next->previous = watched->previous;
    watched->previous->next = watched->next;
    watched->listed = false;
    watched->epoll->active_count--;
}

static void report(struct watched *watched, uint32_t events, uint64_t now, struct epoll_event *out) {
    out->events = events;
    out->data = watched->data;
    watched->last = now;
    stream_prefetch(watched->conn);
    if (UNLIKELY(watched->armed != 0))
        disarm(watched);
    if (watched->events & EPOLLONESHOT) {
        watched->disabled = true;
        leave_list(watched);
    }
}

static uint32_t look_for_death(struct watched *watched) {
    deaths_look_by_time(watched->conn, watched->fd);
    return atomic_load(&watched->conn->peer_gone) ? stream_events(watched->conn, watched->events) : 0;
}

/* The other end writes the line that a look reads, so it is in another CPU's cache: looks at many need not wait for each. */
static inline void prefetch(const struct watched *watched) {
    const struct vn_region *peer = watched->conn != NULL ? watched->conn->peer : NULL;
    if (peer != NULL)
        __builtin_prefetch(&peer->head);
}

int epoll_look(struct epoll *epoll, struct epoll_event *out, int room, uint64_t now, struct looked *looked) {
    int count = 0;
    mutex_lock(&epoll->lock);
    watch_drain(epoll);
    looked->young = false;
    /* Who was woken by one doorbell need not hear the others: each costs the other end a system call. */
    bool awake = !epoll->nested && !epoll_has_sleepers(epoll);
    struct watched *next, *head = &epoll->active;
    for (struct watched *each = head->next; each != head && count < room; each = next) {
        next = each->next;
        prefetch(next);
        if (UNLIKELY(each->last == 0))
            each->last = now;
        uint32_t events = news(each, true);
        if (events != 0) {
            if (UNLIKELY(!(events & DATA_EVENTS))) /* who always has room would never hear of a death */
                events |= look_for_death(each);
            report(each, events, now, &out[count++]);
            if (count == room && next != head) { /* the next look begins where this one ended */
                head->previous->next = head->next;
                head->next->previous = head->previous;
                head->previous = next->previous;
                head->next = next;
                next->previous->next = head;
                next->previous = head;
            }
        } else if (UNLIKELY(conn_phase(each->conn) < CONN_DIRECT)) {
            looked->young = true;
        } else if (UNLIKELY(now > each->last + IDLE_NS)) {
            arm(each);
            if ((events = news(each, true)) != 0)
                report(each, events, now, &out[count++]);
            else
                leave_list(each);
        } else if (UNLIKELY(each->armed != 0) && awake) {
            disarm(each);
        }
    }
    looked->active = epoll->active_count > 0;
    mutex_unlock(&epoll->lock);
    return count;
}

void epoll_look_for_deaths(struct epoll *epoll) {
    mutex_lock(&epoll->lock);
    for (struct watched *each = epoll->active.next; each != &epoll->active; each = each->next)
        if (conn_phase(each->conn) == CONN_DIRECT)
            deaths_look_by_time(each->conn, each->fd);
    mutex_unlock(&epoll->lock);
}

void epoll_serve(struct epoll *epoll) {
    struct {
        struct conn *conn;
        int fd;
    } young[MOST_YOUNG];
    int count = 0;
    mutex_lock(&epoll->lock);
    for (struct watched *each = epoll->active.next; each != &epoll->active && count < MOST_YOUNG; each = each->next) {
        if (conn_phase(each->conn) >= CONN_DIRECT)
            continue;
        young[count].conn = each->conn;
        young[count++].fd = each->fd;
        entry_retain(&each->conn->entry);
    }
    mutex_unlock(&epoll->lock);
    for (int i = 0; i < count; i++) { /* without the lock: it may become a TCP connection, and leave and join us */
        progress_serve(young[i].conn, young[i].fd);
        conn_release(young[i].conn);
    }
}

/* They, too, wake who sleeps for the socket. */
static uint32_t own_shutdowns(const struct conn *conn) {
    bool reads = atomic_load(&conn->own->shut_read), writes = atomic_load(&conn->own->state) & VN_FIN;
    return (uint32_t)reads | (uint32_t)writes << 1;
}

/* The kernel reports an edge of an epoll whenever something comes to what is in it, also where something was there. */
static bool has_come(struct watched *watched) {
    struct conn *conn = watched->conn;
    const struct vn_region *peer = conn->peer;
    uint64_t head = peer == NULL ? 0 : atomic_load(&peer->head);
    uint32_t state = reported_state(conn) << 8 | (uint32_t)conn_phase(conn) << 1 | atomic_load(&conn->peer_gone);
    state |= own_shutdowns(conn) << 16;
    bool room = watched->events & OUT_EVENTS && stream_events(conn, POLLOUT) & POLLOUT;
    bool bytes = watched->events & IN_EVENTS && head != watched->outer_head;
    bool come = bytes || state != watched->outer_state || (room && !watched->outer_room);
    watched->outer_head = head;
    watched->outer_state = state;
    watched->outer_room = room;
    return come;
}

uint64_t epoll_arrivals(struct epoll *epoll) {
    mutex_lock(&epoll->lock);
    watch_drain(epoll);
    for (struct watched *each = epoll->active.next; each != &epoll->active; each = each->next)
        epoll->arrivals += has_come(each);
    uint64_t arrivals = epoll->arrivals;
    mutex_unlock(&epoll->lock);
    return epoll->nests > 0 ? arrivals + epoll_arrivals_nested(epoll) : arrivals;
}

static void heed(struct conn *conn, int fd, bool tcp, const struct epoll_event *event) {
    if (!tcp && event->events & (EPOLLHUP | EPOLLRDHUP))
        conn_note_end(conn, fd);
    if (conn_phase(conn) < CONN_DIRECT)
        progress_serve(conn, fd);
    else if (tcp)
        progress_look_at_tcp(conn, fd);
    doorbell_keep_short(conn);
}

static void collect(struct epoll *epoll) {
    struct epoll_event rung[MOST_RUNG];
    int count;
    if (epoll->inner < 0)
        return;
    do {
        /* no cancellation point: others wait for what it takes */
        count = quiet_events(epoll->inner, rung, MOST_RUNG);
        for (int i = 0; i < count; i++) {
            bool tcp;
            int fd;
            if (rung[i].data.u64 == EPOLL_KICK)
                continue;
            mutex_lock(&epoll->lock);
            struct conn *conn = watch_rung(epoll, rung[i].data.u64, &fd, &tcp);
            mutex_unlock(&epoll->lock);
            if (conn == NULL)
                continue;
            heed(conn, fd, tcp, &rung[i]);
            conn_release(conn);
        }
    } while (count == MOST_RUNG);
}

void epoll_collect(struct epoll *epoll) {
    collect(epoll);
    if (UNLIKELY(epoll->nests > 0))
        epoll_collect_nested(epoll);
}

bool epoll_arm(struct epoll *epoll, uint64_t *due) {
    bool ready = false;
    mutex_lock(&epoll->lock);
    watch_drain(epoll);
    for (struct watched *each = epoll->active.next; each != &epoll->active; each = each->next) {
        uint64_t when = progress_due(each->conn);
        if (when != 0 && when < *due)
            *due = when;
        arm(each);
        ready |= news(each, false) != 0; /* also what was reported just now: it is true for the others, too */
    }
    mutex_unlock(&epoll->lock);
    return epoll->nests > 0 && epoll_arm_nested(epoll, due) ? true : ready;
}

bool epoll_is_ready(struct epoll *epoll) {
    bool ready = false;
    mutex_lock(&epoll->lock);
    watch_drain(epoll);
    for (struct watched *each = epoll->active.next; each != &epoll->active && !ready; each = each->next)
        ready = news(each, false) != 0;
    mutex_unlock(&epoll->lock);
    struct epoll_event event;
    return ready || (epoll->nests > 0 && epoll_look_nested(epoll, &event, 0, 1, NULL) > 0);
}

void epoll_sleep_begins(struct epoll *epoll, uint64_t *due) {
    atomic_fetch_add(&epoll->sleepers, 1);
    epoll_arm(epoll, due);
}

void epoll_sleep_ended(struct epoll *epoll) {
    atomic_fetch_sub(&epoll->sleepers, 1);
    epoll_serve(epoll);
}
