/* What two providers, and a provider and the broker, share: memory, messages and names. See README below.
 *
 * A direct connection has two halves, one made by each end. A half is a sealed memfd that only its maker can
 * write: a control page, then a ring with the bytes that the maker sends. The other end maps it read-only. So a
 * cursor has one writer, and a hostile end can only lie about what it wrote itself; every cursor that is read
 * from the other half is checked before it is used.
 *
 * Stream positions are counted from 0 and never wrap (64 bits). A position p lies at (p - origin) % VN_RING_BYTES; in the
 * ring of a fast stream, which is larger, at (p - large_origin) % VN_LARGE_BYTES (large.c).
 * When the ring is empty the writer moves the origin to its head, so that small messages use the same few cache
 * lines and pages again and again, and an idle connection of ten thousand holds little memory.
 *
 * Who sleeps says so in `wants` of its own half, looks once more
 * and sleeps in the kernel on the bell: a pair of connected Unix stream sockets, one of which is the program's
 * descriptor. Who finds a want that it can meet sends one byte, once for each number.
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#define VN_SOCKETS_VERSION 3
#define VN_BROKER_NAME "vnicd-sockets"        /* abstract, SOCK_SEQPACKET, in each partition's namespace */
#define VN_WINDOW_NAME "-window"               /* after the broker's name: asks here first, see VN_ASK */
#define VN_LISTENER_NAME "vnicd-listener/%u/%s" /* abstract, SOCK_DGRAM: a listener with the provider; port, address */
#define VN_NEAR_NAME "vnicd-near/"            /* abstract, SOCK_DGRAM, bound while the fabric has an address whose first */
                                              /* two bytes (four of IPv6) follow in hex: what is not near is not asked for */
#define VN_NEAR_EXACT "exact"                 /* follows instead while each address has a name, with all its bytes; */
#define VN_NEAR_PORTS "ports"                 /* and this, while each port with a listener with the provider has one */
#define VN_NEAR_PORT "port/%u"

#define VN_CONTROL_BYTES 4096u
#define VN_RING_BYTES (256u * 1024)
#define VN_LARGE_BYTES (2048u * 1024)   /* more than a second-level cache */
#define VN_HALF_BYTES (VN_CONTROL_BYTES + VN_LARGE_BYTES)
#define VN_SMALL_BYTES (VN_CONTROL_BYTES + VN_RING_BYTES)   /* of a half, that are mapped as long as its ring is small */
#define VN_HALF_MAGIC 0x666c6148u

struct vn_address {      /* an IPv4-mapped address is written as IPv4 */
    uint16_t family;     /* AF_INET or AF_INET6; 0: not known */
    uint16_t port;       /* host order */
    uint32_t scope;
    uint8_t ip[16];      /* network order; IPv4 in the first four */
};

/* wants: how many sleep for data (low byte) and for room (next byte), and a number that is another for each sleep:
 * a program that sleeps for many connections at once sleeps often for one that is quiet, and it must not come round. */
#define VN_WANT_DATA 0x00000001ull
#define VN_WANT_ROOM 0x00000100ull
#define VN_WANT_STEP 0x00010000ull
#define VN_WANTS_DATA(wants) (((wants) & 0x000000ffu) != 0)
#define VN_WANTS_ROOM(wants) (((wants) & 0x0000ff00u) != 0)
enum { VN_FIN = 1, VN_CLOSED = 2, VN_RESET = 4, VN_WITHDRAWN = 8, VN_IDLE = 16 };
    /* bits of state. WITHDRAWN: it goes on with TCP; IDLE: no connection uses it, see pool.c */

enum { VN_SMALL, VN_WISHES, VN_LARGE };   /* modes of a ring: VN_RING_BYTES; so too, but a larger one is wished; VN_LARGE_BYTES */

struct vn_half {
    /* constant once it is shown to the other end */
    uint32_t magic, version;
    int32_t pid;                     /* of the process that made it */
    uint32_t accepted;               /* 1: made by accept, 0: by connect */
    struct vn_address local, remote; /* as the maker sees them */
    char program[16];                /* of the maker, NUL-terminated */
    _Alignas(64) _Atomic uint64_t head;   /* bytes written */
    _Atomic uint64_t origin;              /* the position at the ring's first byte */
    _Atomic uint32_t state;               /* VN_FIN: nothing comes after head; VN_CLOSED; VN_RESET */
    _Atomic uint32_t reach;               /* the most bytes of the ring that were in use at a time */
    _Atomic uint64_t use;                 /* number of the connection that it is used for: 1 for its first */
    _Atomic uint64_t answering;           /* at the end that accepts: the use that it is about to accept; see withdraw.c */
    _Atomic uint32_t send_buffer;         /* SO_SNDBUF as TCP tells it, if its program has set it; else 0 */
    _Atomic uint32_t mode;                /* of the ring */
    _Atomic uint64_t large_from;          /* positions before it are where they were in the small ring */
    _Atomic uint64_t large_origin;        /* the position at the large ring's first byte */
    _Alignas(64) _Atomic uint64_t tail;   /* bytes of the other half that were read */
    _Atomic uint32_t receive_buffer;      /* SO_RCVBUF in the same way */
    _Atomic uint32_t has_large;           /* the other half is mapped as a whole */
    _Alignas(64) _Atomic uint64_t wants;
    /* of no meaning to the other end: shared by the processes that have this end (after fork) */
    _Alignas(64) _Atomic uint32_t read_lock, write_lock;   /* 0, or the thread that has it */
    _Atomic uint32_t forked;                               /* more than one process has this end */
    _Atomic uint64_t wakeups;                              /* bytes sent into the bell */
    _Atomic uint64_t sleeps;
    _Atomic uint64_t rung;                                 /* the number in the other half's wants that was answered */
};

/* ------------------------------------------------------------------------------------------------ the broker */

enum vn_op {
    VN_HELLO = 1,   /* reply: fds [table] */
    VN_OFFER = 2,   /* source, target; fds [bell, half, TCP socket that is bound to source]; reply: 0, or why not */
    VN_TAKE = 3,    /* source, target as the accepting end knows them (source is the far end); fds [TCP socket] */
                    /* reply: 0 and fds [bell, half], or VN_WHY_no_offer */
    VN_FORGET = 4,  /* source, target: the connect failed; no reply */
    VN_ASK = 5,     /* at the window, once for each connection: target (family 0: none); reply: 0, or why a connection */
                    /* to it can't be direct, and fds [table] */
    VN_LISTEN = 6,  /* source: a listener's address, whose name is bound; reply: 0 when everybody knows, see near.c */
};

struct vn_request {
    uint32_t version, op;
    struct vn_address source, target;
};

struct vn_reply {
    uint32_t version, why;       /* enum vn_why */
    uint32_t port;               /* HELLO, ASK: the number of the partition that asks */
    uint32_t reserved;
};

/* Why a connection is not direct. Names are shown by `vnicctl sockets`. */
#define VN_WHYS(X) X(direct) X(not_a_partition) X(no_broker) X(no_provider) X(no_offer) X(no_memory) X(no_descriptors) \
    X(withdrawn) X(refused_by_peer) X(switched_off) X(unsupported)
enum vn_why {
#define X(name) VN_WHY_##name,
    VN_WHYS(X)
#undef X
    VN_WHY_COUNT
};

#define VN_TABLE_MAGIC 0x6c626154u
#define VN_TABLE_ENTRIES 4096
#define VN_TABLE_PORTS 1024

struct vn_table {                    /* made by the broker, read by every provider */
    uint32_t magic, version;
    _Atomic uint32_t sequence;       /* odd while entries are rewritten */
    uint32_t count;
    _Atomic uint64_t epoch;          /* changes when firewalls, routes or addresses may have changed */
    _Atomic uint32_t offers[VN_TABLE_PORTS];  /* offers that wait for a partition's accept, by port number */
    struct { struct vn_address address; uint32_t port, reserved; } entries[VN_TABLE_ENTRIES];
};

/* --------------------------------------------------------------------------------------- between two providers */

#define VN_ANSWER_MAGIC 0x72776e41u
struct vn_answer {   /* the first message from the accepting end; fds [half] or [half, door]; door: see door.c */
    uint32_t magic, doors;
    uint64_t ticket;
};

struct vn_knock {    /* an offer by the door, SOCK_SEQPACKET: fds [bell, half] */
    struct vn_address source, target;
    uint64_t ticket;   /* that came with the door: good for these addresses, whatever the source port */
    uint64_t use;      /* of the half; above 1 the answer may come by memory, see pool.c */
};

/* ------------------------------------------------------------------------------------ what a process tells of itself */

#define VN_PROCESS_MAGIC 0x636f7250u
#define VN_RECENT 64
struct vn_process {                  /* a memfd "vnicd-process", mapped for as long as the program runs */
    uint32_t magic, version;
    int32_t pid;
    uint32_t recent_count;           /* decisions made; the last VN_RECENT of them are in `recent` */
    char program[16];
    _Atomic uint64_t decided[16];    /* by enum vn_why */
    struct { struct vn_address target; uint32_t why; int32_t fd; uint64_t when_ns; } recent[VN_RECENT];
};
