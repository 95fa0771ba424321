/* The program's epoll descriptors: what was added to them, and what the readiness hooks share. Theory: epoll_table.c. */
#pragma once

#include <pthread.h>

#include "internal.h"
#include "parts.h"

#define FOR_EVER UINT64_MAX
#define ASK_BUSY_NS 50000u      /* the kernel is asked so often while direct descriptors are ready */
#define ASK_QUIET_NS 10000u     /* and so often while nothing is */
#define IDLE_NS 2000000u        /* an entry without events for so long is armed and not looked at any more */
#define EPOLL_PRIVATE 0x7670652d64636976ull   /* data of the inner epoll in the program's: "vicd-epv" */
#define EPOLL_KICK UINT64_MAX                 /* data of the kick in the inner one */
#define IN_EVENTS (EPOLLIN | EPOLLRDNORM | EPOLLRDBAND | EPOLLRDHUP | EPOLLPRI)
#define OUT_EVENTS (EPOLLOUT | EPOLLWRNORM | EPOLLWRBAND)

struct watched {                 /* one descriptor that was added to one epoll */
    struct epoll *epoll;
    int fd;
    uint32_t generation;         /* tells an inner event of this from one of another that had the same number */
    struct conn *conn;           /* held, watched by us; NULL: the kernel watches it */
    int door;                    /* a listener's, as added to the kernel's set; -1 without */
    bool other;                  /* a listener with a door or an epoll: the kernel's, and looked at in memory too */
    bool disabled;               /* EPOLLONESHOT has fired, or it is parked */
    bool parked;                 /* removed by the program; its bell stays watched, as programs add and remove all the time */
    bool listed;                 /* in the list of active ones */
    bool away;                   /* between epoll_leave and epoll_rejoin */
    unsigned armed;              /* what bell_arm was called with */
    uint32_t events;
    epoll_data_t data;
    uint32_t seen;               /* EPOLLET: what was true, and how far the streams were, at the last look */
    uint64_t seen_head, seen_tail;
    uint64_t last;               /* when it had an event */
    struct watched *next, *previous;    /* the active list */
    struct watched *same;               /* others of the same hash */
    struct watched *touched_next;
    _Atomic bool touched;
};

struct epoll {
    struct entry entry;
    pthread_mutex_t lock;        /* never held while sleeping */
    int outer;                   /* a descriptor of the program's epoll, as used last: see epoll_outer */
    _Atomic int inner;           /* the hidden epoll with the bells, -1 before the first direct connection */
    int kick;                    /* an eventfd in it: wakes who sleeps although no bell rang */
    _Atomic bool direct;         /* there is more to do than to ask the kernel; never goes back */
    _Atomic bool nested;         /* it was added to another one, whose sleepers we do not know */
    unsigned others;
    struct watched **by_fd;
    int room;
    struct watched active;       /* the list's head */
    size_t active_count;
    _Atomic(struct watched *) touched;
    _Atomic int sleepers;
    uint64_t asked, learnt;
    bool filled;                 /* the kernel's events left no room for others last time */
    struct epoll *next;          /* of all */
};

/* epoll_table.c */
struct epoll *epoll_hold(int epfd);
struct epoll *epoll_make(int epfd);                 /* held; the known one if there is one; NULL without memory */
#define epoll_release(epoll) entry_release(&(epoll)->entry)
int epoll_outer(struct epoll *epoll);
bool epoll_prepare(struct epoll *epoll, int epfd);  /* makes the inner epoll; locked */
struct watched *epoll_find(struct epoll *epoll, int fd);
struct watched *epoll_record(struct epoll *epoll, int fd, const struct epoll_event *event);  /* NULL without memory */
void epoll_drop(struct epoll *epoll, struct watched *watched);
void epoll_each(int fd, void (*what)(struct epoll *epoll, struct watched *watched));  /* where fd is watched; locked */
extern _Atomic uint32_t epoll_generation;

/* epoll_watch.c */
int watch(struct epoll *epoll, struct watched *watched, struct conn *conn);   /* takes over the reference, also when it fails (-1) */
void unwatch(struct watched *watched, bool from_kernel);
void watch_activate(struct watched *watched);
void watch_park(struct watched *watched);                    /* direct ones only */       /* to be looked at from now on; locked */
void watch_kick(struct epoll *epoll);               /* wakes a sleeper, if there is one */
void watch_drain(struct epoll *epoll);              /* those that were touched become active; locked */
void watch_after_fork(void);
extern __thread bool watch_collecting;              /* this thread is awake, takes bells and will look: no kicks */
void epoll_touch(struct conn *conn);
    /* Something happened to conn that no bell tells its epolls: bell_take took bytes for another waiter, a write found
       no room, shutdown, an error. To be called if conn->watchers; without locks. */

/* epoll_look.c */
struct looked { bool active, young; uint64_t due; };
int epoll_look(struct epoll *epoll, struct epoll_event *out, int room, uint64_t now, struct looked *looked);
void epoll_serve(struct epoll *epoll, uint64_t now);         /* what is due for connections that are not direct yet */
void epoll_collect(struct epoll *epoll);                     /* takes the bells that rang */
bool epoll_arm(struct epoll *epoll, uint64_t now, uint64_t *due);   /* before a sleep; true: do not sleep, something is ready */
bool epoll_ready(struct epoll *epoll);                       /* for those that it is nested in */

/* epoll_others.c */
int epoll_look_others(struct epoll *epoll, struct epoll_event *out, int have, int room, bool remember);
bool epoll_arm_others(struct epoll *epoll, uint64_t *due);
void epoll_serve_others(struct epoll *epoll, uint64_t now);

/* poll.c */
struct timespec *time_of(uint64_t ns, struct timespec *room);   /* NULL for FOR_EVER */
int poll_direct(struct pollfd *fds, nfds_t count, uint64_t timeout, const sigset_t *mask);
static inline bool is_direct(const struct entry *entry) {   /* a withdrawn one is the kernel's again */
    return entry->kind == VN_CONN && atomic_load(&((const struct conn *)entry)->phase) != VN_PLAIN;
}
static inline bool poll_matters(struct entry *entry) {
    return is_direct(entry) || (entry->kind == VN_EPOLL && atomic_load(&((struct epoll *)entry)->direct)) ||
           (entry->kind == VN_LISTENER && listener_door(entry) >= 0);
}
