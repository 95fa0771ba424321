/* Inside the provider: what its files offer each other. Theory of operation: abi/socket_layout.h (memory), stream/doorbell.c (sleep and wake). */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>

#include "abi/socket_layout.h"

#define EXPORT __attribute__((visibility("default")))
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

/* ---------------------------------------------------------------------------- real.c: the C library's own functions */

#define REALS(X) \
    X(int, close, (int)) X(int, dup, (int)) X(int, dup2, (int, int)) X(int, dup3, (int, int, int)) \
    X(int, fcntl, (int, int, ...)) X(int, ioctl, (int, unsigned long, ...)) \
    X(int, listen, (int, int)) X(int, accept4, (int, struct sockaddr *, socklen_t *, int)) \
    X(int, connect, (int, const struct sockaddr *, socklen_t)) X(int, shutdown, (int, int)) \
    X(int, getsockname, (int, struct sockaddr *, socklen_t *)) X(int, getpeername, (int, struct sockaddr *, socklen_t *)) \
    X(int, getsockopt, (int, int, int, void *, socklen_t *)) X(int, setsockopt, (int, int, int, const void *, socklen_t)) \
    X(ssize_t, read, (int, void *, size_t)) X(ssize_t, write, (int, const void *, size_t)) \
    X(ssize_t, readv, (int, const struct iovec *, int)) X(ssize_t, writev, (int, const struct iovec *, int)) \
    X(ssize_t, recv, (int, void *, size_t, int)) X(ssize_t, send, (int, const void *, size_t, int)) \
    X(ssize_t, recvfrom, (int, void *, size_t, int, struct sockaddr *, socklen_t *)) \
    X(ssize_t, sendto, (int, const void *, size_t, int, const struct sockaddr *, socklen_t)) \
    X(ssize_t, recvmsg, (int, struct msghdr *, int)) X(ssize_t, sendmsg, (int, const struct msghdr *, int)) \
    X(int, recvmmsg, (int, struct mmsghdr *, unsigned, int, struct timespec *)) \
    X(int, sendmmsg, (int, struct mmsghdr *, unsigned, int)) \
    X(int, poll, (struct pollfd *, nfds_t, int)) \
    X(int, ppoll, (struct pollfd *, nfds_t, const struct timespec *, const sigset_t *)) \
    X(int, select, (int, fd_set *, fd_set *, fd_set *, struct timeval *)) \
    X(int, pselect, (int, fd_set *, fd_set *, fd_set *, const struct timespec *, const sigset_t *)) \
    X(int, epoll_ctl, (int, int, int, struct epoll_event *)) \
    X(int, epoll_pwait, (int, struct epoll_event *, int, int, const sigset_t *))

#define X(type, name, arguments) extern type(*real_##name) arguments;
REALS(X)
#undef X

void *real_function(const char *name);   /* dlsym(RTLD_NEXT); never NULL for what the C library has */
void real_init(void);                    /* idempotent; every hook may run before the constructor: see READY */
extern bool vn_ready;
#define READY() do { if (UNLIKELY(!vn_ready)) vn_start(); } while (0)
void vn_start(void);                     /* start.c: once a process; never fails, at worst the provider is switched off */

struct vn_settings {
    bool off;                /* VNICD_DIRECT=0, or something that the provider needs is missing */
    bool loopback;           /* VNICD_LOOPBACK=1 */
    const char *broker;      /* VNICD_BROKER */
    uint64_t poll_ns;        /* VNICD_POLL_US */
    uint64_t answer_ns;      /* VNICD_ANSWER_MS */
    uint64_t large;          /* VNICD_LARGE */
};
enum { VN_LARGE_NEVER, VN_LARGE_ALWAYS, VN_LARGE_WHEN_FAST };
extern struct vn_settings vn_settings;

static inline uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline uint64_t timeval_ns(const struct timeval *time) {
    return (uint64_t)time->tv_sec * 1000000000u + (uint64_t)time->tv_usec * 1000;
}

/* -------------------------------------------------------------------------------- table.c: what a descriptor means */

enum vn_kind { VN_CONN = 1, VN_LISTENER, VN_EPOLL };

struct entry {               /* the common beginning of conn, listener and epoll objects */
    enum vn_kind kind;
    _Atomic int references;  /* descriptors of this process that mean it, and users that hold it for the length of a call */
    void (*destroy)(struct entry *entry);
};

#define VN_MAX_FD (1 << 20)
extern _Atomic(struct entry *) *vn_table;    /* VN_MAX_FD places, most of them never touched */
extern _Atomic int vn_highest;               /* no descriptor above it means anything to us */

static inline struct entry *entry_of(int fd) {
    if (UNLIKELY((unsigned)fd >= VN_MAX_FD || vn_table == NULL))
        return NULL;
    return atomic_load_explicit(&vn_table[fd], memory_order_acquire);
}
struct entry *entry_hold(int fd);            /* with a reference (entry_release), or NULL; safe against a close in another thread */
void entry_release(struct entry *entry);     /* destroys with the last reference */
void entry_set(int fd, struct entry *entry); /* takes over the caller's reference; what fd meant before is released */
struct entry *entry_clear(int fd);           /* fd means nothing any more; the reference is the caller's, or NULL */

struct conn;
static inline struct conn *conn_of(int fd) {
    struct entry *entry = entry_of(fd);
    return LIKELY(entry == NULL) || entry->kind != VN_CONN ? NULL : (struct conn *)entry;
}
struct conn *conn_hold(int fd);              /* entry_hold for connections only */
#define conn_release(conn) entry_release(&(conn)->entry)

/* A hidden descriptor: CLOEXEC, at a high number, out of the way of the program's. -1 and errno when there is none. */
int hide(int fd);                            /* moves fd (closes the low one) */
int hide_copy(int fd);                       /* leaves fd as it is */
void hidden_close(int fd);
void hidden_lost(int fd);    /* it is the program's by now */
bool is_hidden(int fd);                      /* the program did not open it and must not close it */
bool spare_hold(void);                       /* one is kept for when the program has taken all; false when there is none */
void spare_lend(void);                       /* it may be used now, soon to be restored */
void spare_restore(void);                    /* cheap when it was not lent */

/* -------------------------------------------------------------------------------------- half.c: memory and objects */

enum vn_phase {
    VN_CONNECTING,   /* the kept socket's handshake is not over (non-blocking connect) */
    VN_OFFERED,      /* the handshake is over; the other end has not answered: its half is not there yet */
    VN_DIRECT,       /* both halves are there */
    VN_BROKEN,       /* `error` is reported once, then end of file and EPIPE */
    VN_PLAIN,        /* withdrawn: its descriptors are the TCP socket again; hooks go to the real function */
};

struct pair {                /* two halves that know each other; pool.c */
    struct vn_half *own;
    const struct vn_half *peer;
    int memfd;                   /* of own, at the end that offers; else -1 */
    uint64_t inode;              /* of the half that is offered: own with a memfd, else peer. 0: they are not kept */
    uint64_t ticket;             /* of the door that it was offered at */
    struct vn_address target;
};

struct conn {
    struct entry entry;
    _Atomic int phase;           /* enum vn_phase */
    struct vn_half *own;         /* never NULL */
    const struct vn_half *peer;  /* NULL before VN_DIRECT */
    int kept;                    /* the TCP socket, -1 without */
    int family;                  /* of the program's socket: AF_INET or AF_INET6 */
    bool verified;               /* the kept socket made the handshake: one can go back to TCP while VN_OFFERED */
    _Atomic int error;           /* errno to report, 0 for none */
    _Atomic bool nonblocking;    /* O_NONBLOCK, as the program set it */
    _Atomic bool leaving;        /* its descriptors become TCP: nobody is to go to sleep in poll on them, see withdraw.c */
    _Atomic uint32_t asleep;     /* threads that do */
    _Atomic bool recalled;       /* somebody waits for it to go back to TCP */
    _Atomic bool bell_ended;     /* end of file on the bell: the other end is gone or has closed */
    bool shut_read;              /* shutdown(SHUT_RD) here */
    uint64_t receive_timeout_ns, send_timeout_ns;   /* SO_RCVTIMEO, SO_SNDTIMEO; 0: none */
    uint64_t offered_at;
    _Atomic uint32_t leader;     /* 1: a thread of this process sleeps on the bell, or takes its bytes */
    _Atomic uint32_t turn;       /* counts takings; the other threads that wait sleep on it (futex) */
    _Atomic uint32_t followers;
    uint64_t poll_ns;            /* how long it is worth while to poll before sleeping: learnt */
    uint32_t quiet_looks;        /* empty looks since the kernel was asked for the bell */
    struct vn_address source, target;   /* of the offer, for FORGET */
    struct pair pair;            /* pair.peer: the half in which the answer may come */
    /* large.c's: */
    void *whole_own, *whole_peer;   /* the halves with all of their rings, or NULL */
    bool wishes_large, tried_large;
    uint64_t full_at, full_tail, fast_bytes;   /* when there was no room for the last time, and how it was then */
    /* epoll.c's: */
    _Atomic uint32_t watchers;   /* epoll entries that watch this */
    _Atomic uint64_t told_head;  /* EPOLLEXCLUSIVE: one epoll is told of the data up to here, */
    _Atomic(const void *) told_to;   /* namely this one */
};

void half_begin(struct vn_half *half, const struct vn_address *local, const struct vn_address *remote, bool accepted);
    /* as for a new connection */
bool file_may_have(uint64_t bytes);                  /* RLIMIT_FSIZE, beyond which a signal would end the program */
int half_make(struct vn_half **half, const struct vn_address *local, const struct vn_address *remote, bool accepted);
    /* a new half, mapped; its memfd, or -1 */
uint64_t half_inode(int memfd);                      /* 0: it is none that can be told by it */
bool half_answered(struct conn *conn);               /* VN_OFFERED becomes VN_DIRECT when the answer is in memory */
const struct vn_half *half_map(int memfd);           /* the other's; NULL when it isn't one. Does not close memfd */
void half_unmap(const struct vn_half *half);
struct conn *conn_new(struct vn_half *own, int kept);  /* NULL without memory; one reference */

/* ------------------------------------------------------------------------ stream.c: bytes, without sleeping */

/* How many bytes may be written and not yet read, and how many so that a descriptor still counts as writable for poll. */
uint64_t stream_bound_by(uint32_t send_buffer, const struct vn_half *reader);
static inline uint64_t stream_bound(const struct vn_half *writer, const struct vn_half *reader) {
    uint32_t set = atomic_load_explicit(&writer->send_buffer, memory_order_relaxed);
    uint32_t mode = atomic_load_explicit(&writer->mode, memory_order_relaxed);
    if (UNLIKELY(set != 0))
        return stream_bound_by(set, reader);
    return LIKELY(mode != VN_LARGE) ? VN_RING_BYTES : VN_LARGE_BYTES - VN_RING_BYTES;   /* see large.c */
}
static inline uint64_t stream_writable(const struct vn_half *writer, const struct vn_half *reader) {
    uint64_t bound = stream_bound(writer, reader);
    return bound - bound / 4;
}


ssize_t stream_write(struct conn *conn, const struct iovec *iov, int count, size_t skip);
    /* bytes written after the first `skip` of iov; 0: no room; -1 and errno EPIPE, ECONNRESET */
ssize_t stream_read(struct conn *conn, const struct iovec *iov, int count, size_t skip, bool peek, bool *end);
    /* bytes read; 0: nothing there, or *end for end of file; -1 and errno ECONNRESET or the connection's error */
bool stream_stop(struct conn *conn);                 /* nobody writes from now on, until stream_go with its result */
void stream_go(struct conn *conn, bool stopped);
size_t stream_readable(struct conn *conn);           /* bytes (0 also for end of file) */
unsigned conn_events(struct conn *conn);
    /* what is true now, from memory: POLLIN | POLLRDHUP | POLLOUT | POLLHUP | POLLERR (also POLLRDNORM, POLLWRNORM) */

/* ------------------------------------------------------------------------------ bell.c, wait.c: waiting and waking */

void bell_ring_if_wanted(struct conn *conn, int fd, uint32_t wants);   /* wants: VN_WANT_DATA after writing, VN_WANT_ROOM after reading */
void bell_take(struct conn *conn, int fd);
    /* takes the bytes off the bell, without waiting; also the other end's answer (VN_OFFERED becomes VN_DIRECT), and
       the end of a handshake (VN_CONNECTING), and what comes of them. Cheap enough to call when the bell rang, not in a busy loop */
void bell_glance(struct conn *conn, int fd);           /* bell_take for who did not sleep: wakes of others stay theirs */
void bell_take_all(struct conn *conn, int fd);         /* the same for all that is in it, up to its end */
void bell_look_sometimes(struct conn *conn, int fd);   /* bell_take, every so many calls: for programs that never sleep */
void bell_arm(struct conn *conn, unsigned events);     /* I shall sleep for POLLIN and/or POLLOUT; look at conn_events once more after it */
void bell_disarm(struct conn *conn, unsigned events);  /* for each bell_arm */
int bell_sources(struct conn *conn, int fd, unsigned events, struct pollfd *fds);
    /* the 1 or 2 descriptors (with events) whose readiness must wake a sleeper of `conn`: the bell, and a socket that connects */
int conn_wait(struct conn *conn, int fd, unsigned events, uint64_t deadline_ns);
    /* polls, then sleeps, until one of events (or error, hangup) is true, or the phase is VN_PLAIN: 0;
       or -1 and EAGAIN (deadline; 0: none), EINTR */
uint64_t conn_due(struct conn *conn);   /* when something must be done for it though no bell rings (VN_OFFERED), 0 for never */
void conn_serve_due(struct conn *conn, int fd);

#define LOOKS_A_YIELD 16
struct spin { uint64_t until, lent; unsigned looks; uint64_t *learnt; };   /* lent: ns given to others by long yields */
void spin_start(struct spin *spin, uint64_t *learnt);  /* learnt: ns, where the caller keeps what was learnt (starts as 0) */
bool spin_on(struct spin *spin);                        /* false when it is time to sleep; yields now and then */
void spin_slept(struct spin *spin, uint64_t ns);        /* how long the sleep after it was; 0: polling was enough */

/* ---------------------------------------------------------- connect.c, accept.c, broker.c, door.c, epoll.c, others */

bool address_from(struct vn_address *address, const struct sockaddr *name, socklen_t length);
socklen_t address_to(const struct vn_address *address, int family, struct sockaddr *name, socklen_t room);
bool address_same(const struct vn_address *a, const struct vn_address *b);

enum vn_why broker_offer(const struct vn_address *source, const struct vn_address *target, int bell, int half,
                         int tcp);
void broker_forget(const struct vn_address *source, const struct vn_address *target);
bool broker_listen(const struct vn_address *address);        /* that a listener is there; true when everybody knows */
bool broker_take(const struct vn_address *source, const struct vn_address *target, int tcp, int *bell, int *half);
enum vn_why broker_find(const struct vn_address *target);   /* VN_WHY_direct: may be a partition's; else why not */
bool broker_has_offers(void);                                /* for this partition */
uint64_t broker_epoch(void);

void conn_withdraw(struct conn *conn, int fd);
    /* withdraw.c, for who leads: back to TCP with what was written, unless it is accepted just now */
void conn_recall(struct conn *conn, int fd);     /* the same for everybody else */
void listener_adopt(int fd);                     /* listen.c: fd listens (listen was called, or it was inherited) */

int become(int fd, int with);                    /* descriptors.c: fd becomes a duplicate of `with`; 0 or -1 */
int swap_descriptor(int fd, int with);           /* the same, and `with` is closed */
void epoll_leave(int fd);                        /* epoll.c: before fd becomes something else: out of the kernel's sets */
void epoll_rejoin(int fd);                       /* and after it: into them again, as what it is now */
void epoll_forget(int fd);                       /* fd was closed */

void tell(enum vn_why why, const struct vn_address *target, int fd);   /* report.c: a decision was made */
