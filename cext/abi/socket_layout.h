/* What two preload libraries, and a library and the broker, share: memory, messages and names.
 *
 * A direct connection has a pair of stream regions, one made by each end. A region is a sealed memfd that only its maker
 * can write: a control page, then a ring with the bytes that the maker sends. The other end maps it read-only. So a
 * cursor has one writer, and a hostile end can only lie about what it wrote itself; every cursor that is read from the
 * other region is checked before it is used.
 *
 *     region of A (A writes, B reads)               region of B (B writes, A reads)
 *     +--------------------------------+            +--------------------------------+
 *     | constants, head, state         |            | constants, head, state         |
 *     | tail: how far A has read B     |            | tail: how far B has read A     |
 *     | armed: who of A sleeps         |            | armed: who of B sleeps         |
 *     | (private to A's processes)     |            | (private to B's processes)     |
 *     +--------------------------------+            +--------------------------------+
 *     | ring: bytes from A to B        |            | ring: bytes from B to A        |
 *     +--------------------------------+            +--------------------------------+
 *
 * Stream positions are counted from 0 and never wrap (64 bits). A position p lies at (p - origin) % VN_RING_BYTES; in
 * the ring of a fast stream, which is larger, at (p - large_origin) % VN_LARGE_BYTES (stream/large.c). When the ring is
 * empty the writer moves the origin to its head, so that small messages use the same few cache lines and pages again.
 *
 * A thread that goes to sleep counts itself in `armed` of its own region, takes a new number, looks once more and sleeps
 * on the doorbell: a pair of connected Unix stream sockets that the program never sees (stream/doorbell.c).
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#define VN_SOCKETS_VERSION 4
#define VN_BROKER_NAME "vnicd-sockets"          /* abstract, SOCK_SEQPACKET, in each partition's namespace */
#define VN_RESOLVER_NAME "-resolver"            /* after the broker's name: asks here first, see VN_ASK */
#define VN_EXCHANGE_NAME "-exchange"            /* after the broker's name: OFFER, TAKE and FORGET */
#define VN_LISTENER_NAME "vnicd-listener/%u/%s" /* abstract, SOCK_DGRAM: a listener with the library; port, address */

/* abstract, SOCK_DGRAM, bound while the fabric has an address whose first two bytes (four of IPv6) follow in hex: others
 * are not asked for */
#define VN_PRESENCE_NAME "vnicd-presence/"
#define VN_PRESENCE_HERE "here"   /* follows instead as long as the broker serves the namespace */
#define VN_PRESENCE_EXACT "exact" /* follows instead while each address has a name, with all its bytes; */
#define VN_PRESENCE_PORTS "ports" /* and this, while each port with a listener with the library has one */
#define VN_PRESENCE_PORT "port/%u"

#define VN_CONTROL_BYTES 4096u
#define VN_RING_BYTES (256u * 1024)
#define VN_LARGE_BYTES (2048u * 1024) /* more than a second-level cache */
#define VN_REGION_BYTES (VN_CONTROL_BYTES + VN_LARGE_BYTES)
#define VN_SMALL_BYTES (VN_CONTROL_BYTES + VN_RING_BYTES) /* of a region, mapped as long as its ring is small */
#define VN_REGION_MAGIC 0x666c6148u

struct vn_address {  /* an IPv4-mapped address is written as IPv4 */
    uint16_t family; /* AF_INET or AF_INET6; 0: not known */
    uint16_t port;   /* host order */
    uint32_t scope;
    uint8_t ip[16]; /* network order; IPv4 in the first four */
};

/* armed: how many threads sleep for data (low half) and for room (high half). */
#define VN_ARMED_DATA 0x0000000000000001ull
#define VN_ARMED_ROOM 0x0000000100000000ull
#define VN_WANTS_DATA(armed) (((armed) & 0x00000000ffffffffull) != 0)
#define VN_WANTS_ROOM(armed) (((armed) & 0xffffffff00000000ull) != 0)

/* bits of state. FIN: nothing comes after head. CLOSED: nobody reads any more. RESET: as by TCP's RST. FELL_BACK: the
 * client goes on with TCP. SHUT: both directions were shut, so what comes now is answered with a reset */
enum { VN_FIN = 1, VN_CLOSED = 2, VN_RESET = 4, VN_FELL_BACK = 8, VN_SHUT = 16 };

enum { VN_UNDECIDED, VN_ANSWERING, VN_ACCEPTED }; /* decision of the accepting end; see handshake/fallback.c */

/* modes of a ring: VN_RING_BYTES; so too, but a larger one is wished; VN_LARGE_BYTES */
enum { VN_SMALL, VN_WISHES, VN_LARGE };

struct vn_region {
    /* constant once the region is shown to the other end */
    uint32_t magic, version;
    int32_t pid;                     /* of the process that made it */
    uint32_t accepted;               /* 1: made by accept, 0: by connect */
    struct vn_address local, remote; /* as the maker sees them */
    char program[16];                /* of the maker, NUL-terminated */
    /* written for the other end to read */
    _Alignas(64) _Atomic uint64_t head; /* bytes written */
    _Atomic uint64_t origin;            /* the position at the ring's first byte */
    _Atomic uint32_t state;
    _Atomic uint32_t decision;          /* of the accepting end */
    _Atomic uint32_t send_buffer;       /* SO_SNDBUF as TCP reports it, if its program has set it; else 0 */
    _Atomic uint32_t mode;              /* of the ring */
    _Atomic uint64_t large_from;        /* positions before it are where they were in the small ring */
    _Atomic uint64_t large_origin;      /* the position at the large ring's first byte */
    _Atomic uint64_t rings;             /* bytes sent into the doorbell */
    _Atomic uint32_t nudged;            /* by the client: so many first bytes go by TCP too, see handshake/progress.c */
    _Alignas(64) _Atomic uint64_t tail; /* bytes of the other region that were read */
    _Atomic uint32_t receive_buffer;    /* SO_RCVBUF in the same way */
    _Atomic uint32_t has_large;         /* the other region is mapped as a whole */
    _Alignas(64) _Atomic uint64_t armed;
    _Atomic uint64_t sleep_number; /* another one for each sleep: the doorbell is rung once for each */
    /* of no meaning to the other end: shared by the processes that have this end (after fork) */
    _Alignas(64) _Atomic uint32_t read_lock, write_lock, trim_lock; /* 0, or the thread that has it */
    _Atomic uint32_t forked;                                        /* more than one process may have this end */
    _Atomic uint64_t sleeps;
    _Atomic uint64_t rung;                                /* the other region's sleep_number that was answered */
    _Atomic uint64_t trimmed;                             /* bytes taken off our end of the doorbell */
    _Atomic uint32_t nonblocking;                         /* O_NONBLOCK */
    _Atomic uint32_t shut_read;                           /* shutdown(SHUT_RD) */
    _Atomic int32_t error;                                /* errno to report once, 0 for none */
    _Atomic uint32_t low_water;                           /* SO_RCVLOWAT, 0 as long as nobody has set it */
    _Atomic uint64_t receive_timeout_ns, send_timeout_ns; /* SO_RCVTIMEO, SO_SNDTIMEO; 0: none */
};

_Static_assert(sizeof(struct vn_region) <= VN_CONTROL_BYTES, "the control page holds it");

/* ------------------------------------------------------------------------------------------------ the broker */

enum vn_op {
    VN_HELLO = 1, /* reply: fds [table] */
    /* source, target; fds [doorbell, region, TCP socket that is bound to source]; reply: 0, or why not. A client that has
     * had an answer on this connection may connect before it reads this one */
    VN_OFFER = 2,
    /* source, target as the accepting end knows them (source is the far end); fds [TCP socket]; reply: 0 and fds
     * [doorbell, region], or VN_REASON_no_offer */
    VN_TAKE = 3,
    VN_FORGET = 4, /* source, target: the connect failed; no reply */
    /* at the resolver, once for each connection: target (family 0: none); reply: 0, or why a connection to it can't be
     * direct, and fds [table] */
    VN_ASK = 5,
    /* source: a listener's address, whose name is bound; reply: 0 when everybody knows, see discovery/presence.c */
    VN_LISTEN = 6,
};

struct vn_request {
    uint32_t version, op;
    struct vn_address source, target;
};

struct vn_reply {
    uint32_t version, reason; /* enum vn_reason */
    uint32_t port;            /* HELLO, ASK: the number of the partition that asks */
    uint32_t reserved;
};

/* Why a connection is not direct. Names are shown by `vnicctl sockets`. */
// clang-format off
#define VN_REASONS(X) \
    X(direct) X(not_a_partition) X(no_broker) X(no_library) X(no_offer) X(no_memory) X(no_descriptors) X(fell_back) \
    X(refused_by_peer) X(seccomp) X(unsupported) X(short_lived) X(option) X(waits_unseen)
enum vn_reason {
#define X(name) VN_REASON_##name,
    VN_REASONS(X)
#undef X
    VN_REASON_COUNT
};
// clang-format on

#define VN_TABLE_MAGIC 0x6c626154u
#define VN_TABLE_ENTRIES 4096
#define VN_TABLE_PORTS 1024

struct vn_table { /* made by the broker, read by every library */
    uint32_t magic, version;
    _Atomic uint32_t sequence; /* odd while entries are rewritten */
    uint32_t count;
    _Atomic uint64_t epoch;                  /* changes when firewalls, routes or addresses may have changed */
    _Atomic uint32_t offers[VN_TABLE_PORTS]; /* offers that wait for a partition's accept, by port number */
    /* a partition's programs at the exchange: without any, none of its programs has an offer on the way; the exchange
     * writes both */
    _Atomic uint32_t clients[VN_TABLE_PORTS];
    struct {
        struct vn_address address;
        uint32_t port, reserved;
    } entries[VN_TABLE_ENTRIES];
};

/* --------------------------------------------------------------------------------------- between two preload libraries */

#define VN_ANSWER_MAGIC 0x72776e41u
/* The first message on the doorbell from the accepting end; fds [region]. A byte more follows in the same message: the
 * client takes the answer and leaves that, see stream/doorbell.c */
struct vn_answer {
    uint32_t magic;
    uint32_t version;
};

/* ------------------------------------------------------------------------------------ what a process reports */

#define VN_PROCESS_MAGIC 0x636f7250u
#define VN_RECENT 64
struct vn_process { /* a memfd "vnicd-process", mapped for as long as the program runs */
    uint32_t magic, version;
    int32_t pid;
    uint32_t recent_count; /* decisions made; the last VN_RECENT of them are in `recent` */
    char program[16];
    _Atomic uint64_t decided[16]; /* by enum vn_reason */
    struct {
        struct vn_address target;
        uint32_t reason;
        int32_t fd;
        uint64_t when_ns;
    } recent[VN_RECENT];
};
