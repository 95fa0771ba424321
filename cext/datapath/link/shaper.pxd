"""Rate limits of a port towards the uplink: a token bucket for each direction, and the ring is the queue.

Upwards, records stay in the partition's ring until there are tokens; what makes the queue longer than
`queue_limit` is dropped at its head, so that the ring never fills and the partition's other traffic goes on.
Downwards, records are written into the ring at once but published only as there are tokens. A record tells by
itself how many bytes count (`link_id`): all bytes of the frame on the wire, with the headers of each segment.
"""

from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t

from datapath.state.state cimport *
from datapath.frame.inspect cimport PEEK, wire_bytes
from abi.abi cimport *
from datapath.state.ring cimport tx_waiting

cdef enum:
    BURST_NS = 10_000_000        # time whose tokens are kept: longer than a sleep of the loop is ever late
    BURST_LEAST = 16384          # bytes
    FILL_NS = 100_000_000        # longest time that is filled at once; keeps the product within 64 bits
    QUEUE_NS = 50_000_000        # longest time that a record waits
    QUEUE_LEAST = 131072         # bytes: two super-frames; with one, TCP could not keep the line busy
    FLOOD_COPIES = 50_000        # per second and sender: a fifth of the hosting daemon's CPU, at 3.7 us a copy


cdef inline void set_rate(Shaper *s, uint64_t rate, uint64_t now) noexcept nogil:
    s.rate, s.tokens, s.filled_at = rate, 0, now


cdef inline bint has_tokens(Shaper *s, uint64_t now) noexcept nogil:
    """Fill the bucket by the time that has passed; whether a frame may go."""
    cdef int64_t most = <int64_t>(s.rate * BURST_NS // 1_000_000_000)
    cdef uint64_t passed = now - s.filled_at, added
    if passed > FILL_NS:
        s.filled_at, passed = now - FILL_NS, FILL_NS
    added = s.rate * passed // 1_000_000_000
    s.tokens += <int64_t>added
    s.filled_at += added * 1_000_000_000 // s.rate  # what is less than a byte yet is not lost
    if most < BURST_LEAST:
        most = BURST_LEAST
    if s.tokens > most:
        s.tokens = most
    return s.tokens > 0


cdef inline bint may_flood(Engine *e, uint16_t source) noexcept nogil:
    """Whether a sender's broadcast may be copied to all others now; port 0 stands for the uplink.

    In a large fabric each costs as much as hundreds of frames, so what counts is the copies.
    """
    cdef Shaper *limit = &e.floods[source]
    if limit.rate == 0:
        set_rate(limit, FLOOD_COPIES, e.now - FILL_NS)
    if not has_tokens(limit, e.now):
        return False
    limit.tokens -= e.linked_count
    return True


cdef inline uint64_t tokens_at(const Shaper *s, uint64_t now) noexcept nogil:
    """When there will be tokens again, ns."""
    return now + <uint64_t>(1 - s.tokens) * 1_000_000_000 // s.rate


cdef inline uint64_t queue_limit(const Shaper *s) noexcept nogil:
    """Bytes of a ring that may wait."""
    cdef uint64_t limit = s.rate * QUEUE_NS // 1_000_000_000
    if limit < QUEUE_LEAST:
        limit = QUEUE_LEAST
    return limit if limit < VN_RING_SIZE // 2 else VN_RING_SIZE // 2


cdef inline bint queue_is_long(const Engine *e, const Link *link) noexcept nogil:
    """Whether more waits for a port's rate limit than may."""
    return e.down[link.peer].rate != 0 and tx_waiting(&link.tx) > queue_limit(&e.down[link.peer])


cdef inline uint64_t metered(const Engine *e, uint16_t port, const char *payload, uint32_t length) noexcept nogil:
    """What a record's link_id says of a frame that the port's rate limit counts."""
    cdef uint32_t bytes = length - VN_VNET_HDR
    if e.down[port].rate == 0:
        return 0
    return wire_bytes(payload, payload + VN_VNET_HDR, bytes if bytes < PEEK else PEEK, bytes)
