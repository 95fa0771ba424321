"""The uplink, outward: frames from partitions' rings written to the real NIC.

A frame goes from the partition's ring to the NIC's driver in one writev: our checked copy of its
headers, and the rest from where it is. The packet socket takes the same virtio_net_hdr as the TAP, so a
super-frame with a partial checksum leaves whole, and the kernel cuts it where the NIC can't.
"""

from libc.errno cimport EAGAIN, EINVAL, EMSGSIZE, ENOBUFS, ENOMEM, errno
from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from datapath.frame.address_table cimport *
from datapath.state.counters cimport *
from datapath.state.state cimport *
from datapath.frame.inspect cimport *
from abi.abi cimport *
from datapath.link.backpressure cimport *
from datapath.link.link cimport *
from datapath.frame.mac_table cimport *
from datapath.state.ring cimport *
from datapath.link.shaper cimport *
from datapath.io.tap cimport BULK, iovec, writev
from datapath.frame.too_big cimport too_big

cdef enum:
    COPIED = VN_VNET_HDR + PEEK  # most bytes of a record that are copied before they are judged
    TOO_BIG_PAUSE_NS = 1_000_000  # shortest time between two "too big" answers


cdef inline void send_too_big(Engine *e, Link *link, const char *frame, uint32_t copied, uint32_t length,
                              const Inspected *found) noexcept nogil:
    """Answer the sender as a router would whose next hop takes only so much."""
    cdef char answer[VN_VNET_HDR + 1500]
    cdef uint32_t n
    if e.now - link.too_big_at < TOO_BIG_PAUSE_NS:
        return
    n = too_big(answer, frame, copied, length, found, e.uplink.mtu)
    if n and link.open:
        link.too_big_at = e.now
        push(e, link, answer, n, VN_FRAME, 0, 0)


cdef inline bint uplink_write(Engine *e, Link *link, char *headers, uint32_t copied, const char *rest, uint32_t length) noexcept nogil:
    """Give a frame to the NIC; False when its queue is full just now."""
    cdef iovec parts[2]
    cdef int reason = VN_DROP_uplink_down
    parts[0].iov_base, parts[0].iov_len = headers, copied
    parts[1].iov_base, parts[1].iov_len = <void *>rest, length - copied
    if writev(e.uplink.transmit, parts, 2) >= 0:
        if length > BULK:
            e.busy_at = e.now
        count(e, VN_C_uplink_tx_frames, 1)
        count(e, VN_C_uplink_tx_bytes, length - VN_VNET_HDR)
        count_peer(e, link.peer, VN_P_up_frames, 1)
        count_peer(e, link.peer, VN_P_up_bytes, length - VN_VNET_HDR)
        return True
    if errno == EAGAIN:
        return False
    if errno == ENOBUFS or errno == ENOMEM:
        reason = VN_DROP_uplink_full
    elif errno == EINVAL or errno == EMSGSIZE:
        reason = VN_DROP_uplink_refused
    drop(e, link.peer, reason)
    return True


cdef inline bint uplink_admits(Engine *e, Link *link, const char *frame, uint64_t bytes) noexcept nogil:
    """Whether the port's rate limit lets a frame go now.

    A group frame can't wait for the uplink alone, and without those no neighbour is found: it goes on credit, as
    long as a queue's worth is not used up.
    """
    cdef Shaper *limit = &e.up[link.peer]
    if limit.rate == 0:
        return True
    if has_tokens(limit, e.now) or (is_group(frame) and limit.tokens > -<int64_t>queue_limit(limit)):
        limit.tokens -= <int64_t>bytes
        return True
    return False


cdef inline bint over_rate(Engine *e, Link *link) noexcept nogil:
    """The rate limit does not let a frame go now: drop it, and be done with it, or (False) let it wait in the ring."""
    if link.over_queue:
        drop(e, link.peer, VN_DROP_over_rate)
        return True
    link.throttled_until = tokens_at(&e.up[link.peer], e.now)
    return False


cdef inline bint is_tagged(const char *frame) noexcept nogil:
    """Whether a frame has a VLAN tag (0x8100, 0x88a8, 0x9100 to 0x9300)."""
    cdef uint16_t kind = be16(frame + 12)
    return kind == 0x8100 or kind == 0x88A8 or kind == 0x9100 or kind == 0x9200 or kind == 0x9300


cdef inline bint uplink_send(Engine *e, Link *link, char *headers, uint32_t copied, const char *payload, uint32_t length) noexcept nogil:
    """A frame from a partition to the outside; False when it has to wait. `headers` is our copy of its beginning."""
    cdef Inspected found
    cdef char *frame = headers + VN_VNET_HDR
    cdef uint32_t seen = copied - VN_VNET_HDR, bytes = length - VN_VNET_HDR
    if is_tagged(frame) or (headers[0] & VNET_NEEDS_CSUM and be16_host(headers + 6) < IPV4_END):
        drop(e, link.peer, VN_DROP_bad_frame)  # none may reach other VLANs, or rewrite the MACs behind our back
        return True
    if is_shredded(headers, bytes):
        drop(e, link.peer, VN_DROP_bad_frame)
        return True
    if segment_size(headers, frame, seen, bytes) > e.uplink.mtu:
        inspect(frame, seen, bytes, &found)
        send_too_big(e, link, frame, seen, bytes, &found)
        drop(e, link.peer, VN_DROP_too_big)
        return True
    if not uplink_admits(e, link, frame, wire_bytes(headers, frame, seen, bytes)):
        if not is_group(frame):
            return over_rate(e, link)
        drop(e, link.peer, VN_DROP_over_rate)
        return True
    if e.uplink.shared:
        inspect(frame, seen, bytes, &found)
        memcpy(frame + 6, &e.uplink.mac, 6)
        set_link_address(frame, seen, bytes, &found, <const char *>&e.uplink.mac, headers[0] & 1)
    if uplink_write(e, link, headers, copied, payload + copied, length):
        end_hold(e, &link.backpressure_until, NULL, False, False)
        return True
    if holds(e, &link.backpressure_until, True):
        e.up[link.peer].tokens += <int64_t>wire_bytes(headers, frame, seen, bytes)
        return False
    end_hold(e, &link.backpressure_until, NULL, False, True)
    drop(e, link.peer, VN_DROP_uplink_full)
    return True
