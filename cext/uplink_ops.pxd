"""The uplink, outward: frames from partitions' rings written to the real NIC.

A frame goes from the partition's ring to the NIC's driver in one writev: our checked copy of its
headers, and the rest from where it is. The packet socket takes the same virtio_net_hdr as the TAP, so a
super-frame with a partial checksum leaves whole, and the kernel cuts it where the NIC can't.
"""

from libc.errno cimport EAGAIN, EINVAL, EMSGSIZE, ENOBUFS, ENOMEM, errno
from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from address_ops cimport *
from count_ops cimport *
from engine cimport *
from inspect_ops cimport *
from layout cimport *
from link_ops cimport *
from mac_ops cimport *
from ring_ops cimport *
from shaper_ops cimport *
from tap_ops cimport BULK, iovec, writev
from too_big_ops cimport too_big

cdef enum:
    COPIED = VN_VNET_HDR + PEEK  # most bytes of a record that are copied before they are judged
    TELL_NS = 1_000_000          # shortest time between two "too big" answers


cdef inline void tell_too_big(Engine *e, Link *link, const char *frame, uint32_t copied, uint32_t length,
                              const Inspected *found) noexcept nogil:
    """Answer the sender as a router would whose next hop takes only so much."""
    cdef char answer[VN_VNET_HDR + 1500]
    cdef uint32_t n
    if e.now - e.told_at < TELL_NS:
        return
    e.told_at = e.now
    n = too_big(answer, frame, copied, length, found, e.uplink.mtu)
    if n and link.open:
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


cdef inline bint uplink_admits(Engine *e, Link *link, uint64_t bytes) noexcept nogil:
    """Whether the port's rate limit lets a frame go now; else it waits in the ring until `paced_until`."""
    cdef Shaper *limit = &e.up[link.peer]
    if limit.rate == 0:
        return True
    if has_tokens(limit, e.now):
        limit.tokens -= <int64_t>bytes
        return True
    link.paced_until = tokens_at(limit, e.now)
    return False


cdef inline bint uplink_send(Engine *e, Link *link, char *headers, uint32_t copied, const char *payload, uint32_t length) noexcept nogil:
    """A frame from a partition to the outside; False when it has to wait. `headers` is our copy of its beginning."""
    cdef Inspected found
    cdef char *frame = headers + VN_VNET_HDR
    cdef uint32_t seen = copied - VN_VNET_HDR, bytes = length - VN_VNET_HDR
    if segment_size(headers, frame, seen, bytes) > e.uplink.mtu:
        inspect(frame, seen, bytes, &found)
        tell_too_big(e, link, frame, seen, bytes, &found)
        drop(e, link.peer, VN_DROP_too_big)
        return True
    if not uplink_admits(e, link, wire_bytes(headers, frame, seen, bytes)):
        return False
    if e.uplink.shared:
        inspect(frame, seen, bytes, &found)
        memcpy(frame + 6, &e.uplink.mac, 6)
        set_link_address(frame, seen, bytes, &found, <const char *>&e.uplink.mac, headers[0] & 1)
    if uplink_write(e, link, headers, copied, payload + copied, length):
        link.hold_until = 0
        return True
    if link.hold_until == 0:
        count(e, VN_C_holds, 1)
        link.hold_until = e.now + e.hold_ns
    if e.now < link.hold_until:
        e.up[link.peer].tokens += <int64_t>wire_bytes(headers, frame, seen, bytes)
        return False
    link.hold_until = 0
    drop(e, link.peer, VN_DROP_uplink_full)
    return True
