/* The layout of all memory that vnicd's processes share: its only definition, in any language.
 *
 * 1. Link region: one memfd for each side of a link, written by its maker only, read by the peer only.
 *    It is the maker's transmit ring and the maker's cursor in the peer's ring:
 *
 *      0     +------------------------------+
 *            | identity  (written once)     |  magic, version, sizes, who made it for whom
 *      64    +------------------------------+
 *            | head                         |  maker as producer: end of what it has written
 *      128   +------------------------------+
 *            | want_room, cpu               |  maker as producer: wake me when your tail passes this; where it polls
 *      192   +------------------------------+
 *            | tail                         |  maker as consumer: end of what it has read of the peer's ring
 *      256   +------------------------------+
 *            | wake_at                      |  maker as consumer: wake me when your head passes this
 *      4096  +------------------------------+
 *            | ring data, VN_RING_SIZE      |  records, each on a 64-byte boundary
 *            +------------------------------+
 *            | slack, VN_RECORD_MAX         |  a record that begins before the end of the ring runs into here,
 *            +------------------------------+  so it never wraps
 *
 *    Cursors are free-running byte counts; the position in the ring is cursor modulo VN_RING_SIZE.
 *
 * 2. Directory: one memfd for the fabric, written by the hosting daemon, read by all.
 * 3. Counters: one memfd for each daemon, written by its loop, read by the hosting daemon.
 */
#ifndef VNICD_LAYOUT_H
#define VNICD_LAYOUT_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#define VN_VERSION 3
#define VN_MAX_PORTS 256    /* port 0 is the hosting daemon */
#define VN_MAX_ADDRESSES 16 /* of one port */
#define VN_LINE 64          /* cache line; records are aligned to it */

#define VN_LINK_MAGIC 0x4b4e4c56u      /* "VLNK" */
#define VN_DIRECTORY_MAGIC 0x52494456u /* "VDIR" */
#define VN_COUNTERS_MAGIC 0x544e4356u  /* "VCNT" */

#define VN_RING_OFFSET 4096u
#define VN_RING_SIZE (512u << 10)
#define VN_VNET_HDR 10u /* struct virtio_net_hdr before each frame */
#define VN_ETH_HDR 14u
#define VN_RECORD_MAX 65600u /* record header, vnet header, and a 64 KiB super-frame */
#define VN_LINK_REGION (VN_RING_OFFSET + VN_RING_SIZE + VN_RECORD_MAX)

/* -------------------------------------------------------------------------------------------- links */

struct vn_link_region {
    /* Identity. Owner: maker, before the region is handed over. */
    uint32_t magic;
    uint16_t version;
    uint16_t maker; /* port */
    uint16_t peer;  /* port that may map it */
    uint16_t pad0;
    uint32_t ring_offset;
    uint32_t ring_size;
    uint32_t record_max;
    uint64_t link_id;
    uint8_t pad1[VN_LINE - 32];

    uint64_t head; /* owner: maker, as producer */
    uint8_t pad2[VN_LINE - 8];
    uint64_t want_room; /* owner: maker, as producer */
    uint64_t cpu;       /* owner: maker; 1 + the CPU that its loop polls this link on, 0 while it does not */
    uint8_t pad3[VN_LINE - 16];
    uint64_t tail; /* owner: maker, as consumer */
    uint8_t pad4[VN_LINE - 8];
    uint64_t wake_at; /* owner: maker, as consumer */
    uint8_t pad5[VN_LINE - 8];
};

/* What stands before each frame in a ring. Owner: the ring's producer. */
struct vn_record {
    uint32_t length; /* bytes behind this header: vnet header and frame */
    uint16_t kind;   /* VN_FRAME, VN_MARK */
    uint16_t source; /* port that the frame came from; on a direct link the maker */
    /* VN_MARK: the link that is now open; VN_FRAME: bytes of it that its producer's rate limit counts */
    uint64_t link_id;
};

enum {
    VN_FRAME = 1, /* vnet header and Ethernet frame */
    VN_MARK = 2,  /* sent by relay: what follows from `source` comes on the direct link `link_id`;
                     the payload is the vn_mark */
};

struct vn_mark {
    uint16_t target; /* port that the mark is for */
    uint8_t pad[22];
};

/* ---------------------------------------------------------------------------------------- directory */

struct vn_address {
    uint8_t family; /* 4, 6, or 0 for an empty slot */
    uint8_t prefix;
    uint8_t pad[6];
    uint8_t bytes[16];
};

enum {
    VN_UPLINK = 1, /* what is for no port goes to the hosting daemon, which has an uplink */
    VN_GUARD = 2   /* a port may send only from the addresses of its entry, and of its MAC's link-local one */
};

enum { VN_PORT_FREE = 0, VN_PORT_LIVE = 1, VN_PORT_DOWN = 2 };

struct vn_directory_entry { /* owner: hosting daemon */
    uint8_t mac[6];
    uint8_t state; /* VN_PORT_* */
    uint8_t address_count;
    uint32_t generation; /* counts the daemons that have served this port */
    uint32_t mtu;
    uint32_t queue_ms; /* how long what it sends by relay may wait for its rate limit */
    uint8_t pad[44];
    struct vn_address addresses[VN_MAX_ADDRESSES];
};

struct vn_directory { /* owner: hosting daemon */
    uint32_t magic;
    uint16_t version;
    uint16_t entry_count;
    uint32_t flags; /* VN_UPLINK, VN_GUARD */
    uint8_t pad0[VN_LINE - 12];
    uint64_t change; /* odd while entries are being written */
    uint8_t pad1[VN_LINE - 8];
    uint8_t pad2[4096 - 2 * VN_LINE];
    struct vn_directory_entry entries[VN_MAX_PORTS];
};

/* ----------------------------------------------------------------------------------------- counters */

// clang-format off
/* Of a whole daemon. */
#define VN_PORT_COUNTERS(X)                                                                                  \
    X(tap_rx_frames) X(tap_rx_bytes)     /* read from the TAP: what the partition sends */                    \
    X(tap_tx_frames) X(tap_tx_bytes)     /* written to the TAP: what the partition receives */                \
    X(rounds) X(sleeps)                  /* of the loop */                                                    \
    X(holds)                             /* times that a full ring made the loop wait */                      \
    X(link_faults)                       /* links dropped because the peer's memory failed a check */         \
    X(uplink_rx_frames) X(uplink_rx_bytes) /* read from the uplink and meant for a partition */               \
    X(uplink_tx_frames) X(uplink_tx_bytes) /* written to the uplink */

/* Of a daemon and one peer. */
#define VN_PEER_COUNTERS(X)                                                                                  \
    X(tx_frames) X(tx_bytes)             /* to that port, direct or by relay */                               \
    X(tx_relayed)                        /* frames of these that went by relay */                             \
    X(rx_frames) X(rx_bytes)             /* from that port, direct or by relay */                             \
    X(wakeups)                           /* doorbells rung at that port */                                    \
    X(up_frames) X(up_bytes)             /* hosting daemon: from that port to the uplink */                   \
    X(down_frames) X(down_bytes)         /* hosting daemon: from the uplink to that port */

/* Why a frame was not delivered; counted for the peer it concerns, or else for the daemon. */
#define VN_DROPS(X)                                                                                          \
    X(bad_source)         /* its source MAC is not the sender's own */                                        \
    X(reserved_multicast) /* 01:80:c2:00:00:0x, never forwarded by a bridge */                                \
    X(no_destination)     /* no port has this MAC, and there is no uplink */                                  \
    X(own_destination)    /* addressed to its sender */                                                       \
    X(not_mine)           /* a peer sent a frame for another MAC */                                           \
    X(peer_down)          /* the port it is for is not running */                                             \
    X(no_link)            /* neither a direct link nor a relay */                                             \
    X(ring_full)          /* the receiver did not keep up */                                                  \
    X(bad_frame)          /* shorter than an Ethernet header, longer than a record, or it can't be cut */     \
    X(tap_down)           /* the receiving interface is down or gone */                                       \
    X(tap_refused)        /* the receiving kernel refused it (a malformed offload header, say) */             \
    X(tap_full)           /* the receiving kernel had no memory for it */                                     \
    X(bad_address)        /* its source address is not the sender's own, or it answers for another's */       \
    X(too_big)            /* larger than the uplink's MTU; the sender was notified */                         \
    X(over_rate)          /* beyond the partition's rate limit */                                             \
    X(uplink_down)        /* the uplink's NIC is down or gone */                                              \
    X(uplink_refused)     /* the kernel refused it at the uplink (a malformed offload header, say) */         \
    X(uplink_full)        /* the uplink's queue was full */                                                   \
    X(unread)             /* sent into a link whose other end was gone, or gave it up, before it read it */      \
    X(storm)              /* a broadcast or multicast beyond what one sender may have copied to the others */
// clang-format on

#define VN_ENUM_PORT(name) VN_C_##name,
#define VN_ENUM_PEER(name) VN_P_##name,
#define VN_ENUM_DROP(name) VN_DROP_##name,
#define VN_NAME(name) #name,
enum { VN_PORT_COUNTERS(VN_ENUM_PORT) VN_PORT_COUNTER_COUNT };
enum { VN_PEER_COUNTERS(VN_ENUM_PEER) VN_PEER_COUNTER_COUNT };
enum { VN_DROPS(VN_ENUM_DROP) VN_DROP_COUNT };
static const char *const vn_port_counter_names[] __attribute__((unused)) = {VN_PORT_COUNTERS(VN_NAME)};
static const char *const vn_peer_counter_names[] __attribute__((unused)) = {VN_PEER_COUNTERS(VN_NAME)};
static const char *const vn_drop_names[] __attribute__((unused)) = {VN_DROPS(VN_NAME)};

#define VN_PEER_SLOTS 12
#define VN_DROP_SLOTS 28
#define VN_PORT_SLOTS 32

struct vn_peer_counters { /* owner: the daemon's loop */
    uint64_t values[VN_PEER_SLOTS];
    uint64_t drops[VN_DROP_SLOTS];
};

struct vn_counters {
    uint32_t magic; /* identity: owner hosting daemon, which makes the region */
    uint16_t version;
    uint16_t port_counters;
    uint16_t peer_counters;
    uint16_t drop_counters;
    uint8_t pad[VN_LINE - 12];
    uint64_t values[VN_PORT_SLOTS]; /* owner from here on: the daemon's loop */
    uint64_t drops[VN_DROP_SLOTS];
    uint8_t pad1[32];
    struct vn_peer_counters peers[VN_MAX_PORTS];
};

/* ------------------------------------------------------------------------------------------- faults */

/* Why a peer's memory was refused. */
// clang-format off
#define VN_FAULTS(X)                                                                                         \
    X(none) X(bad_identity) X(cursor_unaligned) X(cursor_back) X(cursor_ahead) X(record_short)                \
    X(record_long) X(record_beyond) X(record_kind) X(doorbell_broken)
// clang-format on
#define VN_ENUM_FAULT(name) VN_FAULT_##name,
enum { VN_FAULTS(VN_ENUM_FAULT) VN_FAULT_COUNT };
static const char *const vn_fault_names[] __attribute__((unused)) = {VN_FAULTS(VN_NAME)};

static_assert(sizeof(struct vn_record) == 16, "a record header is two words, loaded once each");
static_assert(sizeof(struct vn_mark) == VN_VNET_HDR + VN_ETH_HDR, "a mark is as long as the shortest frame");
static_assert(offsetof(struct vn_link_region, head) == 64, "cursors have cache lines of their own");
static_assert(offsetof(struct vn_link_region, want_room) == 128, "cursors have cache lines of their own");
static_assert(offsetof(struct vn_link_region, tail) == 192, "cursors have cache lines of their own");
static_assert(offsetof(struct vn_link_region, wake_at) == 256, "cursors have cache lines of their own");
static_assert(sizeof(struct vn_link_region) <= VN_RING_OFFSET, "the ring lies behind the cursors");
static_assert((VN_RING_SIZE & (VN_RING_SIZE - 1)) == 0, "positions are masked");
static_assert(VN_RECORD_MAX % VN_LINE == 0 && VN_RECORD_MAX < VN_RING_SIZE, "a record fits and is aligned");
static_assert(sizeof(struct vn_address) == 24, "directory layout");
static_assert(sizeof(struct vn_directory_entry) == 64 + 24 * VN_MAX_ADDRESSES, "directory layout");
static_assert(offsetof(struct vn_directory, entries) == 4096, "directory layout");
static_assert((int)VN_PORT_COUNTER_COUNT <= VN_PORT_SLOTS, "room for the counters");
static_assert((int)VN_PEER_COUNTER_COUNT <= VN_PEER_SLOTS, "room for the counters");
static_assert((int)VN_DROP_COUNT <= VN_DROP_SLOTS, "room for the drop reasons");
static_assert(offsetof(struct vn_counters, peers) == 576, "peers begin on a cache line");
static_assert(sizeof(struct vn_peer_counters) == 320, "five cache lines a peer");

#endif
