/* A connection: the object behind the program's descriptors of it.
 *
 * The program's descriptor is and stays its TCP socket. Beside it the connection has two mapped regions and a doorbell,
 * a hidden Unix socket. So options and names are the kernel's own, going back to TCP needs no other descriptor, and
 * who reaches the descriptor by ways that the library can't see meets a TCP socket on which nothing ever comes:
 * once the connection is direct, both ends shut their TCP sockets for reading (an end of file for such a reader), and
 * bytes that do arrive there reset the connection (handshake/progress.c).
 *
 *     CONNECTING --> OFFERED --> DIRECT --> BROKEN
 *         |  \________  | _________________^   ^
 *         v           \ v________________ /____|
 *       PLAIN <--------
 */
#pragma once

#include "abi/socket_layout.h"
#include "base/common.h"
#include "fdtable/entry.h"

enum phase {
    CONN_CONNECTING, /* TCP's handshake is not over (non-blocking connect) */
    CONN_OFFERED,    /* it is over; the other end has not answered, so its region is not there yet */
    CONN_DIRECT,     /* both regions are there */
    CONN_BROKEN,     /* the error in own->error is reported once, then end of file and EPIPE */
    CONN_PLAIN,      /* it went back to TCP: no descriptor means it any more, hooks use the real functions */
};

#define CONN_AT_ONCE_NS 1u /* a time-out that is over at once, as the program has set a negative one */

struct conn {
    struct entry entry;
    _Atomic int phase;                      /* written by conn_set_phase alone */
    struct vn_region *own;                  /* never NULL */
    _Atomic(const struct vn_region *) peer; /* NULL before CONN_DIRECT */
    int doorbell;                           /* hidden; as long as the object lives */
    uint64_t inode;                         /* of the TCP socket: what tells whether a number still means it */
    uint32_t serial;
    int family;              /* of the program's socket: AF_INET or AF_INET6 */
    _Atomic bool peer_gone;  /* the doorbell or TCP says that no process has the other end any more */
    _Atomic bool peer_reset; /* and that by TCP's reset, as SO_LINGER makes it */
    _Atomic bool fallback_requested;
    _Atomic bool serving;      /* a thread is in conn_serve */
    _Atomic int pins;          /* threads that use the number: conn_pin */
    _Atomic int blocked;       /* threads that sleep in a blocking call on it: wait/block.c */
    _Atomic bool goodbye_owed; /* its last descriptor was closed under them; the last of them says so */
    int tcp;                   /* a hidden copy of the TCP socket then, or if it fell back under them; or -1 */
    _Atomic uint64_t offered_at;
    uint32_t writes;                  /* of this process, some lost to races: how much use was made of it */
    size_t lost;                      /* bytes of the write that found the other end closed */
    _Atomic uint32_t nudge_taken;     /* bytes, at the accepting end: handshake/progress.c */
    uint8_t nudge_looks;              /* receives that still look for it */
    _Atomic uint64_t poll_ns;         /* how long polling before a sleep is worth while: learnt */
    _Atomic uint64_t looked_at;       /* stream/deaths.c: when the kernel was asked for the other end's death, */
    _Atomic uint32_t death_looks;     /* how often, */
    _Atomic bool watched_for_death;   /* and whether it is asked for all of the process together */
    _Atomic uint32_t sleeper;         /* the last thread that watches the doorbell, by its sleeper's number */
    _Atomic bool dropped;             /* by connect(AF_UNSPEC): no end has come, as far as poll is concerned */
    bool unreported;                  /* the program has seen EINPROGRESS, and no connect that returned 0 */
    bool disconnecting;               /* and a shutdown that found it reset: then TCP refuses every connect */
    _Atomic bool early;               /* watched by the kernel, in an epoll: see epoll_waits_seen */
    _Atomic int parked;               /* the number by which it was taken out of an epoll last, and when: */
    _Atomic uint64_t parked_at;       /* it may be put back without asking the kernel */
    bool wants_signals;               /* O_ASYNC: the doorbell is rung for every byte */
    struct vn_address source, target; /* of the offer */
    /* stream/large.c: */
    void *whole_own, *whole_peer; /* the regions with all of their rings, or NULL */
    bool wishes_large, tried_large;
    uint64_t full_at, full_tail, fast_bytes; /* when there was no room for the last time, and how it was then */
    /* watch/: */
    _Atomic uint32_t watchers;            /* epoll entries that watch this */
    _Atomic uint64_t notified_head;       /* EPOLLEXCLUSIVE: one epoll is notified of the data up to here, */
    _Atomic(const void *) notified_epoll; /* namely this one */
};

extern _Atomic int conn_young; /* connections of this process that are not direct yet, nor anything else */

/* NULL without memory. Takes over own and the doorbell (hidden) with the result; one user: the caller. */
struct conn *conn_new(struct vn_region *own, int doorbell, enum phase phase);

/* The one writer of `phase`: false when it was not `from` any more. */
bool conn_set_phase(struct conn *conn, enum phase from, enum phase to);
void conn_abort(struct conn *conn); /* its TCP socket was, from outside: as its partition was removed, or by ss -K */
bool conn_break(struct conn *conn, int error); /* to CONN_BROKEN from wherever it is, with this error to report */

static inline enum phase conn_phase(const struct conn *conn) {
    return (enum phase)atomic_load_explicit(&conn->phase, memory_order_acquire);
}

static inline struct conn *conn_of(int fd) {
    struct entry *entry = entry_of(fd);
    return LIKELY(entry == NULL) || entry->kind != ENTRY_CONN ? NULL : (struct conn *)entry;
}

static inline struct conn *conn_hold(int fd) { /* entry_hold for connections only */
    return LIKELY(conn_of(fd) == NULL) ? NULL : (struct conn *)entry_hold_kind(fd, ENTRY_CONN);
}

#define conn_release(conn) entry_release(&(conn)->entry)

/* A number of this process that means the connection: fd if it does, else another one; -1 for none. */
int conn_descriptor(const struct conn *conn, int fd);

/* The same, for a system call on it: another thread may close the number, and the kernel give it to another file, so a
 * close waits until it is unpinned. Unpin soon, also after -1; nothing that closes a number may stand between the two. */
int conn_pin(struct conn *conn, int fd);
void conn_unpin(struct conn *conn);
void conn_wait_unpinned(struct conn *conn); /* for who closes a number, which means the connection no more */

/* Asks the kernel whether any process still has the other end; what it says is kept in conn->peer_gone. */
bool conn_has_ended(struct conn *conn, int fd);
void conn_note_end(struct conn *conn, int fd); /* its doorbell says so */

bool conn_is_under(const struct conn *conn, int fd); /* the kernel agrees: fd is this connection's socket */
uint64_t inode_of(int fd);                           /* 0: not open */

static inline bool conn_is_nonblocking(const struct conn *conn) {
    return atomic_load_explicit(&conn->own->nonblocking, memory_order_relaxed) != 0;
}

void conn_read_options(struct conn *conn, int fd);       /* what the ring must know of the TCP socket's options */
void conn_give_back_error(struct conn *conn, int error); /* taken by a call that reports its bytes instead */
int conn_take_error(struct conn *conn);                  /* the errno to report, once; 0 for none */
