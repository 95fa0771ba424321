/* What was added to each of the program's epoll descriptors.
 *
 * Theory of operation. The kernel's epoll does for plain descriptors what it always does. For a direct connection the
 * kernel has only its doorbell, and not in the program's epoll but in a hidden inner one, which is itself in the
 * program's: so a doorbell wakes who sleeps there and is never mistaken for an event of the program's. Doorbells are
 * watched edge-triggered, and their bytes stay (stream/doorbell.c). Entries that had events lately are in the active list
 * and are looked at by every wait; the others are armed.
 *
 * A plain descriptor has an entry too, for what it may become. One that is connected by TCP for good has none: programs
 * call epoll_ctl with each message, and those without direct connections would pay for it (fdtable/marks.h).
 *
 * As in the kernel, an entry is known by the number that it was added by, and lives as long as any descriptor of the
 * same socket: one whose number was closed while another number means the connection is an orphan.
 *
 * Locks: all_lock, then an epoll's, then the one of active.c. */
#include "watch/registry.h"

#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include "base/real.h"
#include "base/signals.h"
#include "fdtable/hidden.h"
#include "watch/active.h"

static _Atomic uint32_t generation = 1; /* entries that are no epolls have 0 */
static pthread_mutex_t all_lock = PTHREAD_MUTEX_INITIALIZER, making = PTHREAD_MUTEX_INITIALIZER;
static struct epoll *all;
static _Atomic bool any;          /* is or was in it */
static _Atomic(uint16_t) *counts; /* by descriptor: how many epolls watch it, so that most closes cost one look */

_Atomic int epoll_early[256];
_Atomic bool epoll_waits_seen;

struct epoll *epoll_hold(int epfd) {
    struct entry *entry = entry_of(epfd);
    if (entry == NULL || entry->kind != ENTRY_EPOLL || (entry = entry_hold(epfd)) == NULL)
        return NULL;
    if (entry->kind == ENTRY_EPOLL)
        return (struct epoll *)entry;
    entry_release(entry);
    return NULL;
}

static void epoll_destroy(struct entry *entry) {
    struct epoll *epoll = (struct epoll *)entry;
    int saved = errno;
    mutex_lock(&all_lock);
    for (struct epoll **at = &all; *at != NULL; at = &(*at)->next)
        if (*at == epoll) {
            *at = epoll->next;
            break;
        }
    mutex_unlock(&all_lock);
    for (int fd = 0; fd < epoll->room; fd++)
        if (epoll->by_fd[fd] != NULL) {
            unwatch(epoll->by_fd[fd], false);
            epoll_drop(epoll, epoll->by_fd[fd]);
        }
    while (epoll->orphans != NULL) {
        unwatch(epoll->orphans, false);
        epoll_drop(epoll, epoll->orphans);
    }
    if (epoll->inner >= 0) {
        hidden_close(epoll->inner);
        hidden_close(epoll->kick);
    }
    pthread_mutex_destroy(&epoll->lock);
    free(epoll->by_fd);
    entry_free(entry);
    errno = saved;
}

/* What the kernel reports of an epoll in another may be a doorbell's doing, and nothing to the program. So it has to be
 * known among the events, and its data alone do not do: other descriptors may have the same. Programs that wait by instructions
 * of their own see the kernel's events, so these keep their data. */
void epoll_tag(struct epoll *epoll, struct watched *watched) {
    uint64_t tag = EPOLL_NESTED << 32 | watched->generation;
    struct epoll_event event = {watched->disabled ? EPOLLONESHOT : watched->events, {.u64 = tag}};
    watched->tagged = watched->nested && atomic_load(&epoll_waits_seen) &&
                      real_epoll_ctl(epoll_outer(epoll), EPOLL_CTL_MOD, watched->fd, &event) == 0;
}

void epoll_nest(struct epoll *epoll, struct watched *watched) {
    if (!watched->nested) {
        epoll->nests++;
        watched->generation = atomic_fetch_add(&generation, 1);
    }
    watched->nested = watched->was_more = true;
    atomic_store(&epoll->direct, true);
}

/* An epoll may have been added to others before anything was known of it. */
static void nested(struct epoll *epoll, struct watched *watched) {
    struct epoll *inside = epoll_hold(watched->fd);
    if (inside == NULL)
        return;
    inside->nested = true;
    if (watched->conn == NULL && !watched->nested) {
        epoll_nest(epoll, watched);
        if (!(watched->events & EPOLLONESHOT)) /* which may have fired already, for all we know */
            epoll_tag(epoll, watched);
    }
    epoll_release(inside); /* never the last one: who makes it holds it */
}

struct epoll *epoll_make(int epfd) {
    if ((unsigned)epfd >= MAX_FD)
        return NULL;
    mutex_lock(&making);
    struct epoll *epoll = epoll_hold(epfd);
    if (epoll == NULL && (epoll = (struct epoll *)entry_new(ENTRY_EPOLL, sizeof(*epoll), epoll_destroy)) != NULL) {
        pthread_mutex_init(&epoll->lock, NULL);
        epoll->outer = epfd;
        epoll->inner = epoll->kick = -1;
        epoll->active.next = epoll->active.previous = &epoll->active;
        entry_set(epfd, &epoll->entry);
        mutex_lock(&all_lock);
        if (counts == NULL) {
            void *place = mmap(NULL, MAX_FD * sizeof(*counts), PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
            counts = place == MAP_FAILED ? NULL : place;
        }
        epoll->next = all;
        all = epoll;
        atomic_store(&any, true);
        mutex_unlock(&all_lock);
        epoll_each(epfd, nested);
    }
    mutex_unlock(&making);
    return epoll;
}

int epoll_outer(struct epoll *epoll) { /* the program may have closed the one and go on with a dup */
    if (entry_of(epoll->outer) != &epoll->entry)
        epoll->outer = entry_descriptor(&epoll->entry, 0);
    return epoll->outer;
}

bool epoll_prepare(struct epoll *epoll, int epfd) {
    struct epoll_event to_inner = {EPOLLIN | EPOLLET, {.u64 = EPOLL_KICK}},
                       to_outer = {EPOLLIN, {.u64 = EPOLL_PRIVATE}};
    if (epoll->inner >= 0)
        return true;
    int inner = quiet_epoll(), kick = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (inner >= 0)
        inner = hide(inner);
    if (kick >= 0)
        kick = hide(kick);
    if (inner >= 0 && kick >= 0 && real_epoll_ctl(inner, EPOLL_CTL_ADD, kick, &to_inner) == 0 &&
        real_epoll_ctl(epfd, EPOLL_CTL_ADD, inner, &to_outer) == 0) {
        epoll->kick = kick;
        atomic_store(&epoll->inner, inner);
        atomic_store(&epoll->direct, true);
        uint64_t one = 1; /* who sleeps there already does not know of direct connections */
        return quiet_write(kick, &one, sizeof(one)) == sizeof(one);
    }
    int saved = errno;
    if (inner >= 0)
        hidden_close(inner);
    if (kick >= 0)
        hidden_close(kick);
    errno = saved;
    return false;
}

static struct watched *place_of(struct epoll *epoll, int fd) {
    return fd >= 0 && fd < epoll->room ? epoll->by_fd[fd] : NULL;
}

struct watched *epoll_find(struct epoll *epoll, int fd) {
    struct watched *watched = place_of(epoll, fd);
    return watched != NULL && !watched->unused ? watched : NULL;
}

/* Many programs take a descriptor out and put it back with each message: then nothing is to be cleared. */
void epoll_drop_plain(struct epoll *epoll, struct watched *watched) {
    if (watched->was_more || watched->away)
        epoll_drop(epoll, watched);
    else
        watched->unused = true;
}

struct watched *epoll_record(struct epoll *epoll, int fd, const struct epoll_event *event) {
    if (fd >= epoll->room) {
        int room = epoll->room > 0 ? epoll->room : 64;
        while (room <= fd)
            room *= 2;
        struct watched **larger = realloc(epoll->by_fd, (size_t)room * sizeof(*larger));
        if (larger == NULL)
            return NULL;
        memset(larger + epoll->room, 0, (size_t)(room - epoll->room) * sizeof(*larger));
        epoll->by_fd = larger;
        epoll->room = room;
    }
    struct watched *watched = epoll->by_fd[fd];
    if (watched == NULL) {
        if ((watched = calloc(1, sizeof(*watched))) == NULL)
            return NULL;
        watched->epoll = epoll;
        watched->fd = fd;
        epoll->by_fd[fd] = watched;
        if (counts != NULL && fd < MAX_FD)
            atomic_fetch_add(&counts[fd], 1);
    }
    watched->events = event->events;
    watched->data = event->data;
    watched->disabled = watched->parked = watched->unused = false;
    return watched;
}

static void uncount(const struct watched *watched) {
    if (counts != NULL && watched->fd < MAX_FD)
        atomic_fetch_sub(&counts[watched->fd], 1);
}

void epoll_drop(struct epoll *epoll, struct watched *watched) {
    if (watched->orphan) {
        for (struct watched **at = &epoll->orphans; *at != NULL; at = &(*at)->next_orphan)
            if (*at == watched) {
                *at = watched->next_orphan;
                break;
            }
    } else {
        epoll->by_fd[watched->fd] = NULL;
        uncount(watched);
    }
    free(watched);
}

void epoll_orphan(struct epoll *epoll, struct watched *watched) {
    epoll->by_fd[watched->fd] = NULL;
    uncount(watched);
    watched->orphan = true;
    watched->next_orphan = epoll->orphans;
    epoll->orphans = watched;
}

void epoll_each_orphan(struct conn *conn, void (*what)(struct epoll *epoll, struct watched *watched)) {
    mutex_lock(&all_lock);
    for (struct epoll *epoll = all; epoll != NULL; epoll = epoll->next) {
        mutex_lock(&epoll->lock);
        for (struct watched *each = epoll->orphans, *next; each != NULL; each = next) {
            next = each->next_orphan;
            if (each->conn == conn)
                what(epoll, each);
        }
        mutex_unlock(&epoll->lock);
    }
    mutex_unlock(&all_lock);
}

bool epoll_watches(int fd) {
    return atomic_load_explicit(&any, memory_order_acquire) && fd >= 0 &&
           (counts == NULL || fd >= MAX_FD || atomic_load(&counts[fd]) != 0);
}

void epoll_each(int fd, void (*what)(struct epoll *epoll, struct watched *watched)) {
    if (!epoll_watches(fd))
        return;
    mutex_lock(&all_lock);
    for (struct epoll *epoll = all; epoll != NULL; epoll = epoll->next) {
        mutex_lock(&epoll->lock);
        struct watched *watched = place_of(epoll, fd);
        if (watched != NULL && watched->unused)
            epoll_drop(epoll, watched);
        else if (watched != NULL)
            what(epoll, watched);
        mutex_unlock(&epoll->lock);
    }
    mutex_unlock(&all_lock);
}

void epoll_before_fork(void) {
    mutex_lock(&making);
    mutex_lock(&all_lock);
    for (struct epoll *epoll = all; epoll != NULL; epoll = epoll->next) {
        mutex_lock(&epoll->lock);
        epoll->shared = true;
    }
    active_before_fork();
}

void epoll_after_fork_here(void) {
    active_after_fork_here();
    for (struct epoll *epoll = all; epoll != NULL; epoll = epoll->next)
        mutex_unlock(&epoll->lock);
    mutex_unlock(&all_lock);
    mutex_unlock(&making);
}

void epoll_after_fork(void) { /* the thread that had a lock is not in the child */
    all_lock = making = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    active_after_fork();
    memset((void *)epoll_early, 0, sizeof(epoll_early));
    for (struct epoll *epoll = all; epoll != NULL; epoll = epoll->next) {
        epoll->lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
        epoll->sleepers = 0;
        epoll->shared = true;
        for (int fd = 0; fd < epoll->room; fd++)
            if (epoll->by_fd[fd] != NULL && epoll->by_fd[fd]->conn != NULL) {
                epoll->by_fd[fd]->armed = 0; /* the parent's, who will disarm it */
                watch_activate(epoll->by_fd[fd]);
            }
    }
}
