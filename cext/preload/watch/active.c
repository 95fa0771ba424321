/* Direct connections in an epoll: their bells in the inner one, the active list, and what others tell of them. */
#include "epoll.h"

#include <string.h>

#define BUCKETS 4096

static pthread_mutex_t touch_lock = PTHREAD_MUTEX_INITIALIZER;   /* over the hash; the innermost lock */
static struct watched *buckets[BUCKETS];                         /* by connection */
__thread bool watch_collecting;

static struct watched **bucket(struct conn *conn) {
    return &buckets[((uintptr_t)conn >> 6) * 0x9e3779b97f4a7c15ull >> 52];
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
    if (watched->armed != 0) {   /* a ring answers one arming: the next needs a new one */
        bell_disarm(watched->conn, watched->armed);
        watched->armed = 0;
    }
    watched->last = now_ns();
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
        bell_disarm(watched->conn, watched->armed);
    watched->armed = 0;
    watched->parked = watched->disabled = true;
}

void watch_kick(struct epoll *epoll) {
    uint64_t one = 1;
    int saved = errno;
    if ((atomic_load(&epoll->sleepers) > 0 || epoll->nested) && epoll->kick >= 0 && real_write(epoll->kick, &one, sizeof(one)) < 0)
        errno = saved;   /* the counter is full: it is readable */
}

int watch(struct epoll *epoll, struct watched *watched, struct conn *conn) {
    struct pollfd sources[2];
    int count = bell_sources(conn, watched->fd, POLLIN | POLLOUT, sources);
    uint64_t data = (uint64_t)watched->generation << 32 | (uint32_t)watched->fd;
    for (int i = 0; i < count; i++) {
        /* The socket that connects tells one thing once. It may be in the set already, from before a MOD. */
        struct epoll_event event = {.data = {.u64 = data}};
        event.events = sources[i].fd == watched->fd ? EPOLLIN | EPOLLET : (uint32_t)sources[i].events | EPOLLONESHOT;
        int result = real_epoll_ctl(epoll->inner, EPOLL_CTL_ADD, sources[i].fd, &event);
        if (result != 0 && errno == EEXIST)
            result = real_epoll_ctl(epoll->inner, EPOLL_CTL_MOD, sources[i].fd, &event);
        if (result != 0) {
            int saved = errno;
            conn_release(conn);
            errno = saved;
            return -1;
        }
    }
    watched->conn = conn;
    atomic_store(&conn->told_head, UINT64_MAX);   /* who comes is told of what is there */
    watched->armed = 0;
    watched->seen = 0;
    watched->seen_head = watched->seen_tail = 0;
    pthread_mutex_lock(&touch_lock);
    watched->same = *bucket(conn);
    *bucket(conn) = watched;
    pthread_mutex_unlock(&touch_lock);
    atomic_fetch_add(&conn->watchers, 1);
    watch_activate(watched);
    watch_kick(epoll);
    return 0;
}

void unwatch(struct watched *watched, bool from_kernel) {
    struct conn *conn = watched->conn;
    if (conn == NULL)
        return;
    pthread_mutex_lock(&touch_lock);
    for (struct watched **at = bucket(conn); *at != NULL; at = &(*at)->same)
        if (*at == watched) {
            *at = watched->same;
            break;
        }
    pthread_mutex_unlock(&touch_lock);
    watch_drain(watched->epoll);   /* nobody can touch it any more; now it is in no list of those */
    unlist(watched);
    if (watched->armed != 0)
        bell_disarm(conn, watched->armed);
    if (from_kernel) {
        struct pollfd sources[2];
        int saved = errno, count = bell_sources(conn, watched->fd, POLLIN | POLLOUT, sources);
        for (int i = 0; i < count; i++)
            real_epoll_ctl(watched->epoll->inner, EPOLL_CTL_DEL, sources[i].fd, NULL);
        errno = saved;
    }
    watched->armed = 0;
    watched->conn = NULL;
    watched->generation = atomic_fetch_add(&epoll_generation, 1);
    atomic_fetch_sub(&conn->watchers, 1);
    conn_release(conn);
}

void watch_drain(struct epoll *epoll) {
    struct watched *each = atomic_load(&epoll->touched) == NULL ? NULL : atomic_exchange(&epoll->touched, NULL);
    while (each != NULL) {
        struct watched *next = each->touched_next;
        atomic_store(&each->touched, false);
        if (each->conn != NULL)
            watch_activate(each);
        each = next;
    }
}

void epoll_touch(struct conn *conn) {
    pthread_mutex_lock(&touch_lock);
    for (struct watched *each = *bucket(conn); each != NULL; each = each->same) {
        if (each->conn != conn)
            continue;
        struct epoll *epoll = each->epoll;
        if (!atomic_exchange(&each->touched, true)) {
            each->touched_next = atomic_load(&epoll->touched);
            while (!atomic_compare_exchange_weak(&epoll->touched, &each->touched_next, each))
                ;
        }
        if (!watch_collecting)
            watch_kick(epoll);
    }
    pthread_mutex_unlock(&touch_lock);
}

void watch_after_fork(void) {
    touch_lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
}
