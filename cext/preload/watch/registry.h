/* The program's epoll descriptors: what was added to them. Theory of operation: registry.c. */
#pragma once

#include <pthread.h>
#include <sys/epoll.h>

#include "stream/conn.h"

#define IDLE_NS 2000000u /* an entry without events for so long is armed and not looked at any more */
#define EPOLL_PRIVATE 0x7670652d64636976ull /* data of the inner epoll in the program's: "vicd-epv" */
#define EPOLL_KICK UINT64_MAX               /* data of the kick in the inner one */
#define EPOLL_NESTED 0x7670656eull /* high half of the data of an epoll in the program's: "nepv"; low: generation */
/* What TCP wakes sleepers for when bytes come, and when room comes. A FIN or a reset wakes for all events. */
#define IN_EVENTS (EPOLLIN | EPOLLRDNORM | EPOLLRDBAND | EPOLLPRI)
#define OUT_EVENTS (EPOLLOUT | EPOLLWRNORM | EPOLLWRBAND)

struct watched { /* one descriptor that was added to one epoll */
    struct epoll *epoll;
    int fd;
    uint32_t generation; /* of an epoll, and of no other that had the same number; else 0 */
    struct conn *conn;   /* held, watched by us; NULL: the kernel watches it */
    bool unused;         /* taken out by the program: nothing but memory, for when it comes back */
    bool was_more;       /* than a descriptor of the kernel's: a connection or an epoll */
    bool nested;         /* an epoll: the kernel's, and looked at in memory too */
    bool tagged;         /* then the kernel has data of ours for it, see epoll_tag */
    bool disabled;       /* EPOLLONESHOT has fired, or it is parked */
    bool absent;         /* and the kernel does not have it: it takes none that reports nothing, see rejoin */
    bool parked;    /* removed by the program; its doorbell stays watched, as programs add and remove all the time */
    bool listed;    /* in the list of active ones */
    bool away;      /* between watch_leave and watch_rejoin */
    bool orphan;    /* its number was closed, while another one means the same connection */
    bool tcp;       /* its TCP socket is watched for what should not come, see stream/conn.h */
    unsigned armed; /* what doorbell_arm was called with */
    uint32_t events;
    epoll_data_t data;
    uint64_t last;                   /* when it had an event; 0: it is in the list since the last look */
    struct watched *next, *previous; /* the active list */
    uint32_t seen;                   /* EPOLLET: what was true, and how far the streams were, at the last look */
    uint32_t seen_state;             /* of the other end */
    uint64_t seen_head, seen_tail;   /* of an epoll: its arrivals, as the head */
    uint64_t outer_head;             /* as the epoll's arrivals count it */
    uint32_t outer_state;
    bool outer_room;
    struct watched *same; /* others of the same hash */
    struct watched *next_orphan;
    struct watched *touched_next;
    _Atomic bool touched;
    _Atomic uint32_t anew; /* events for which what was reported is news again */
};

struct epoll {
    struct entry entry;
    pthread_mutex_t lock; /* never held while sleeping */
    int outer;            /* a descriptor of the program's epoll, as used last: see epoll_outer */
    _Atomic int inner;    /* the hidden epoll with the doorbells, -1 before the first direct connection */
    int kick;             /* an eventfd in it: wakes who sleeps although no doorbell rang */
    _Atomic bool direct;  /* there is more to do than to ask the kernel; never goes back */
    _Atomic bool nested;  /* it was added to another one, whose sleepers we do not know */
    _Atomic bool shared;  /* another process has it too: an edge that it takes is not seen here */
    unsigned nests;       /* entries that are epolls */
    uint64_t arrivals;    /* what came to its connections so far: for those that it is nested in */
    struct watched **by_fd;
    int room;
    struct watched *orphans;
    struct watched active; /* the list's head */
    size_t active_count;
    _Atomic(struct watched *) touched;
    _Atomic int sleepers;
    _Atomic uint64_t asked;
    _Atomic uint64_t asked_for_deaths;
    _Atomic uint64_t learnt;
    _Atomic bool filled; /* the kernel's events left no room for others last time */
    struct epoll *next;  /* of all */
};

/* Threads that sleep in the kernel's epoll_wait for a number, at one in 256: they looked before the first direct
 * connection came. Another thread may take the kick that should wake them, so they count as sleepers until they return. */
extern _Atomic int epoll_early[256];

static inline _Atomic int *epoll_early_of(int epfd) {
    return &epoll_early[(unsigned)epfd % 256];
}

/* Whether this process has ever waited by a function that the library replaces. Programs that only wait by their own
 * instructions (Bun) see what the kernel's epoll has, and nothing else: as long as this is false, a connection without
 * an answer is watched by its TCP socket, and stays TCP if the program goes on with it. */
extern _Atomic bool epoll_waits_seen;

struct epoll *epoll_hold(int epfd);
static inline bool epoll_has_sleepers(struct epoll *epoll) {
    return atomic_load(&epoll->sleepers) > 0 || atomic_load(epoll_early_of(epoll->outer)) > 0;
}

struct epoll *epoll_make(int epfd); /* held; the known one if there is one; NULL without memory */
#define epoll_release(epoll) entry_release(&(epoll)->entry)
int epoll_outer(struct epoll *epoll);
void epoll_nest(struct epoll *epoll, struct watched *watched); /* watched is an epoll itself; locked */
void epoll_tag(struct epoll *epoll, struct watched *watched);
bool epoll_prepare(struct epoll *epoll, int epfd); /* makes the inner epoll; locked */
struct watched *epoll_find(struct epoll *epoll, int fd);
struct watched *epoll_record(struct epoll *epoll, int fd, const struct epoll_event *event); /* NULL without memory */
void epoll_drop(struct epoll *epoll, struct watched *watched);
/* watched by the kernel: cheap to record again */
void epoll_drop_plain(struct epoll *epoll, struct watched *watched);
void epoll_orphan(struct epoll *epoll, struct watched *watched);
void epoll_each(int fd, void (*what)(struct epoll *epoll, struct watched *watched)); /* where fd is watched; locked */
void epoll_each_orphan(struct conn *conn, void (*what)(struct epoll *epoll, struct watched *watched));
bool epoll_watches(int fd); /* some epoll has it, as far as we know */
void epoll_before_fork(void);
void epoll_after_fork_here(void);
void epoll_after_fork(void);
