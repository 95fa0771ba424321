"""The state of a loop: links, the MAC table, the frame that waits for room, and the mailboxes to the control thread.

One thread runs the loop and writes all of this; the control thread touches only the command slot, takes the
event sets and reads what is shown of each link, all through the operations in barrier.h. It alone gives the
commands that make and free links, so their pointers hold while it looks.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from abi.abi cimport *
from datapath.state.ring cimport Rx, Tx


cdef enum:
    NO_PORT = 0xFFFF
    TABLE_SIZE = 1024            # MAC table: a power of two, at least four times VN_MAX_PORTS
    BITMAP_WORDS = 4             # VN_MAX_PORTS / 64
    BATCH = 16                   # frames taken from one source before the next has its turn
    SEGMENTS_A_TURN = 1024       # and packets that they are cut into: 16 of 64 KiB are 736, and take 1 ms at most
    SEGMENTS_AT_END = 8192       # of what stands in the ring of a link that ends; of ordinary frames it holds less
    INWARD_MAX = 8 * 65536 + 512  # the kernel's GSO_MAX_SIZE, with a link layer's and our own headers

    COMMAND_NONE = 0
    COMMAND_ATTACH = 1
    COMMAND_OPEN = 2
    COMMAND_CLOSE = 3
    COMMAND_DETACH = 4
    COMMAND_DIRECTORY = 5
    COMMAND_TAP = 6
    COMMAND_UPLINK = 7
    COMMAND_RATE = 8
    COMMAND_STOP = 9

    MAX_RX_QUEUES = 32           # sockets that the uplink's inbound frames are spread over
    PORT_ADDRESSES = 17          # VN_MAX_ADDRESSES and the link-local one


cdef enum:
    SHOWN_OPEN = 1
    SHOWN_WAITS = 2              # nothing is read from it for now, or never again
    SHOWN_FAULT = 8              # bits to the left: a fault of VN_FAULTS


cdef struct Shown:               # what the control thread reads of a link at any time, by relaxed atomics
    uint64_t used                # ns, last frame in either direction
    uint64_t state


cdef struct Link:
    uint16_t peer
    uint64_t id
    Tx tx
    Rx rx
    int doorbell                 # our end of the pair of sockets that carries the doorbells
    bint doorbell_is_safe        # nobody can send descriptors by it
    bint open                    # we may write into it
    bint held                    # nothing is read from it until the mark has come by relay
    bint active                  # polled; otherwise armed
    bint settling                # what came by relay from this peer waits until it is read up to `settles_at`
    uint64_t settles_at
    uint64_t settled_until       # ns: no such wait before
    bint receiver_stalled        # its ring stayed full for too long: nobody waits for it until half is free
    uint64_t waits_since         # ns, beginning of the period that `waited` is of
    uint64_t waited              # ns that others' frames have waited with those for its ring
    bint gone                    # reported to the control thread: the peer died or broke a rule
    uint64_t held_since          # ns
    Shown shown
    uint64_t backpressure_until          # ns: what came from here waits for room elsewhere
    uint64_t throttled_until         # ns: what came from here waits for its rate limit
    bint over_queue              # too much waits for it: what the limit does not let go now is dropped
    uint64_t too_big_at          # ns, when the sender was last notified that its frame was too big
    uint64_t stall_traced_at     # ns
    bint stall_is_traced         # and its end is to be
    bint small                   # on small pages, and the control thread was not notified that it is fast
    uint64_t turned_at           # ns, when our ring last began anew


cdef struct MacSlot:
    uint64_t mac                 # 48 bits, 0 for an empty slot
    uint16_t port


cdef struct AddressSlot:
    uint8_t family               # 4, 6, or 0 for an empty slot
    uint16_t port
    uint8_t bytes[16]


cdef struct Addresses:           # table of IP addresses; two of them, so that a new one is whole before it counts
    uint32_t most                # slots that there is memory for; what is not used of it is not touched
    uint32_t size                # slots in use: 0, or a power of two that is at least twice the number of addresses
    uint32_t spare_size
    uint32_t spare_used
    AddressSlot *slots
    AddressSlot *spare


cdef struct Shaper:              # a token bucket; `tokens` may become negative by one frame
    uint64_t rate                # bytes (of floods: copies) per second, 0 for no limit
    int64_t tokens               # bytes, or copies
    uint64_t filled_at           # ns


cdef struct RxQueue:             # a packet socket that some ports' frames come in by
    int fd
    bint active
    uint16_t last                # the port that its last frame was for, or NO_PORT
    bint bulk                    # that was a long one: look at the next before it is read
    uint64_t took                # bytes of a ring, if that one was cut: the next will take as much
    uint64_t backpressure_until  # ns: its frames wait for room in that port's ring


cdef struct Uplink:
    int transmit                 # packet socket, sends only
    bint shared                  # all partitions use the NIC's MAC
    uint64_t mac                 # of the NIC
    uint32_t mtu
    int rx_queue_count
    RxQueue rx_queues[MAX_RX_QUEUES]


cdef struct Pending:             # one frame read from the TAP whose ring was full
    uint32_t length
    uint16_t port
    uint64_t until               # ns


cdef struct Command:
    int kind
    uint16_t port
    Link *link
    const vn_directory *directory
    Uplink *uplink
    uint64_t rate
    uint64_t rate_in
    int fd


cdef struct Engine:
    int poll_fd                  # epoll: TAP, doorbells, command_fd
    int command_fd               # eventfd, control thread to loop
    int done_fd                  # eventfd, loop to control thread: a command is done
    int events_fd                # eventfd, loop to control thread: a set below is not empty
    int tap                      # -1 for none
    uint64_t shown_tap           # the same and one, for the control thread; 0 for none
    bint tap_muted               # not watched, because a frame from it waits for room
    bint relays                  # the hosting daemon: forwards from link to link
    bint stop
    uint16_t port
    uint64_t mac                 # our own, 48 bits

    Link *links[VN_MAX_PORTS]
    uint16_t linked[VN_MAX_PORTS]
    int linked_count
    uint16_t active[VN_MAX_PORTS]
    int active_count

    MacSlot table[TABLE_SIZE]
    uint8_t port_state[VN_MAX_PORTS]
    uint64_t port_mac[VN_MAX_PORTS]
    uint64_t queue_ns[VN_MAX_PORTS]  # how long what a port sends by relay may wait for its rate limit
    const vn_directory *directory
    uint64_t directory_change    # its version when the table was built
    uint32_t flags               # of the directory
    uint32_t segments            # that the frames of this turn are cut into, elsewhere
    Addresses addresses          # of all ports
    uint64_t sought[VN_MAX_PORTS][2]  # ns, when that port was last asked alone for the MAC of an address, by ARP and ND
    Shaper floods[VN_MAX_PORTS]  # hosting daemon: copies of broadcasts from that port; 0 is the uplink
    Uplink *uplink               # hosting daemon; NULL for none
    int shaped                   # ports with a rate limit
    Shaper up[VN_MAX_PORTS]      # hosting daemon: from that port to the uplink
    Shaper down[VN_MAX_PORTS]    # hosting daemon: from the uplink to that port

    char *scratch                # one record, from the TAP
    char *inward                 # hosting daemon: one frame from the uplink, INWARD_MAX bytes
    char *segment                # hosting daemon: one record, a piece of that
    Pending pending
    uint16_t tap_port            # where the last frame from the TAP went
    uint64_t tap_mixed_at        # ns, when one last went elsewhere than the one before
    uint64_t now                 # ns, CLOCK_MONOTONIC, at the beginning of the round
    uint64_t poll_ns             # polling time before the loop sleeps, as it has learnt
    uint64_t poll_most           # upper bound of that
    int64_t poll_debt            # ns that polling has cost beyond what it has saved
    uint64_t poll_rests_until    # ns, when it is tried again, once that was too much; 0 while it polls
    int poll_rest                # how long it rests then: until this many bits of the clock are zero
    uint64_t busy_at             # ns, when there was last more to do than one small frame at a time
    int cpus                     # that this thread may use
    uint64_t cpu                 # 1 + where the loop runs, as its links show their peers
    uint64_t moved_at            # ns, when the loop last left a CPU to a peer
    uint64_t backpressure_ns     # longest time that a full ring is waited for
    uint64_t want_ns             # shortest time between two requests for the same link

    vn_counters *counters
    vn_trace_record *trace       # the loop's section of the daemon's trace ring; NULL for none
    uint64_t trace_next          # number of the next record
    uint32_t pid

    Command command
    uint64_t command_seq         # control thread
    uint64_t done_seq            # loop
    uint64_t wanted[BITMAP_WORDS]  # ports that a direct link would serve
    uint64_t gone[BITMAP_WORDS]    # links whose peer died or broke a rule
    uint64_t fast[BITMAP_WORDS]    # links on small pages that are worth huge ones
    uint64_t tap_gone
    uint64_t asked[VN_MAX_PORTS]   # ns, when a link was last requested
