"""What is done with a record that came over a link: into the TAP, or in the hosting daemon on to other links.

A record is in its maker's memory and the maker may change it at any time. So its headers are copied once, the
copy is judged, and the copy is what is passed on; the rest of the frame is payload that nobody here interprets.

Order. While a flow moves from the relay to a new direct link, the receiver *holds* the direct link until the
sender's mark has come through the relay behind the last relayed frame. On the way back (a link that is given
back), the sender stops writing into the direct link before it uses the relay again, and the receiver empties a
peer's direct link before it delivers a relayed frame of that peer. Either way a flow stays in order.
"""

from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from datapath.state.counters cimport *
from datapath.state.state cimport *
from abi.abi cimport *
from datapath.link.backpressure cimport *
from datapath.link.link cimport *
from datapath.frame.mac_table cimport *
from datapath.state.ring cimport *
from datapath.state.trace cimport trace
from datapath.link.shaper cimport may_flood, queue_limit
from datapath.io.tap cimport *
from datapath.frame.address_table cimport is_honest
from datapath.frame.inspect cimport is_shredded, segments_of
from datapath.io.uplink_tx cimport COPIED, over_rate, uplink_admits, uplink_send, wire_bytes

cdef enum:
    HELD_NS = 200_000_000        # longest wait for a mark that the relay may have lost, beside its sender's rate limit
    SETTLED_NS = 1_000_000_000   # shortest time between two waits for the same peer's direct link
    OVER_QUEUE_A_TURN = 256      # records that are taken out of a queue that is too long


cdef inline void link_release(Engine *e, Link *link, bint expired=False) noexcept nogil:
    """The relay is drained for this peer, or the time for it has `expired`: read the direct link from now on."""
    if link.held:
        trace(e, VN_TRACE_released, link.id, link.peer, expired)
    link.held = False
    show(link)
    activate(e, link)


cdef inline bint is_settled(Engine *e, Link *direct) noexcept nogil:
    """Whether what a peer wrote into its direct link before it used the relay again has been taken.

    An honest peer writes no more there, so it is soon empty. One that goes on is waited for once, up to what stood
    there at the first look, and then not for a while: no peer may hold up what others send by relay.
    """
    if e.now < direct.settled_until:
        return True
    if not direct.settling:
        drain_link(e, direct, BATCH)
        direct.settles_at = direct.rx.tail + rx_ready(&direct.rx)
        direct.settling = direct.settles_at != direct.rx.tail
        return not direct.settling
    drain_link(e, direct, BATCH)
    if direct.rx.fault == 0 and <int64_t>(direct.settles_at - direct.rx.tail) > 0:
        return False
    direct.settling = False
    direct.settled_until = e.now + SETTLED_NS
    return True


cdef inline bint take_at_partition(Engine *e, Link *link, const Record *record) noexcept nogil:
    """A record for this partition; False when a relayed one has to wait for those on the direct link."""
    cdef char headers[COPIED]
    cdef uint32_t copied = HEADERS
    cdef bint guards = link.peer != 0 and (e.flags & VN_GUARD) != 0  # what comes by relay the host has judged
    cdef uint16_t source = link.peer
    cdef Link *direct
    if link.peer == 0 and record.source < VN_MAX_PORTS:
        source = record.source
    direct = e.links[source]
    if record.kind == VN_MARK:
        if link.peer == 0 and direct != NULL and direct.id == record.link_id:
            link_release(e, direct)
        return True
    if guards:
        copied = record.length if record.length < COPIED else COPIED
    vn_copy_once(headers, record.payload, copied)
    if direct != link and direct != NULL and not direct.held and not is_group(headers + VN_VNET_HDR):
        if not is_settled(e, direct):
            return False
    if link.peer and mac_at(headers + VN_VNET_HDR + 6) != e.port_mac[source]:
        drop(e, source, VN_DROP_bad_source)
    elif not is_group(headers + VN_VNET_HDR) and mac_at(headers + VN_VNET_HDR) != e.mac:
        drop(e, source, VN_DROP_not_mine)
    elif guards and not is_honest(e, source, headers, headers + VN_VNET_HDR, copied - VN_VNET_HDR,
                                            record.length - VN_VNET_HDR):
        drop(e, source, VN_DROP_bad_address)
    else:
        tap_write(e, source, headers, copied, record.payload, record.length)
    return True


cdef struct Relayed:             # a record in the hosting daemon
    const Record *record
    uint32_t copied              # bytes of its payload in `headers`
    char headers[COPIED]         # our copy of its beginning


cdef inline bint relay_to(Engine *e, Link *to, Link *link, const Relayed *r) noexcept nogil:
    """Copy a record on into another link, with the checked headers; False when that ring is full."""
    cdef const Record *record = r.record
    cdef char *place = tx_reserve(&to.tx, record.span)
    if place == NULL:
        if to.tx.fault:
            link_gone(e, to)
        return False
    note_room(e, to)
    memcpy(place + sizeof(vn_record), r.headers, r.copied)
    memcpy(place + sizeof(vn_record) + r.copied, record.payload + r.copied, record.length - r.copied)
    tx_commit(&to.tx, record.length, record.kind, link.peer, record.link_id if record.kind == VN_MARK else 0)
    publish(e, to)
    if record.kind == VN_FRAME:
        count_peer(e, to.peer, VN_P_tx_frames, 1)
        count_peer(e, to.peer, VN_P_tx_bytes, record.length - VN_VNET_HDR)
    return True


cdef inline bint relay_or_wait(Engine *e, uint16_t port, Link *link, const Relayed *r) noexcept nogil:
    """Relay to one port; False while its ring is full and the waiting time is not over."""
    cdef Link *to = e.links[port]
    if to == NULL or not to.open:
        drop(e, link.peer, VN_DROP_no_link if e.port_state[port] == VN_PORT_LIVE else VN_DROP_peer_down)
        return True
    if relay_to(e, to, link, r):
        end_hold(e, &link.backpressure_until, to, True, False)
        return True
    if holds(e, &link.backpressure_until, may_wait(to)):
        return False
    end_hold(e, &link.backpressure_until, to, True, True)
    drop(e, port, VN_DROP_ring_full)
    return True


cdef inline void relay_flood(Engine *e, Link *link, Relayed *r) noexcept nogil:
    """To every port but the source, our own interface and the uplink; nobody is waited for."""
    cdef int i
    cdef Link *to
    if not may_flood(e, link.peer):
        drop(e, link.peer, VN_DROP_storm)
        return
    for i in range(e.linked_count):
        to = e.links[e.linked[i]]
        if to != link and to.open and not relay_to(e, to, link, r):
            drop(e, to.peer, VN_DROP_ring_full)
    if e.tap >= 0:
        tap_write(e, link.peer, r.headers, r.copied, r.record.payload, r.record.length)
    if e.uplink != NULL and not uplink_send(e, link, r.headers, r.copied, r.record.payload, r.record.length):
        drop(e, link.peer, VN_DROP_uplink_full)
        link.backpressure_until = 0


cdef inline bint take_for_machine(Engine *e, Link *link, Relayed *r) noexcept nogil:
    """A frame for our own interface; False when it has to wait. Without an uplink of ours that is the way out."""
    cdef const char *frame = r.headers + VN_VNET_HDR
    cdef uint32_t bytes = r.record.length - VN_VNET_HDR
    if is_shredded(r.headers, bytes):  # the machine may forward it, and cut it for that
        drop(e, link.peer, VN_DROP_bad_frame)
        return True
    if e.uplink == NULL and e.up[link.peer].rate:
        if not uplink_admits(e, link, frame, wire_bytes(r.headers, frame, r.copied - VN_VNET_HDR, bytes)):
            return over_rate(e, link)
    tap_write(e, link.peer, r.headers, r.copied, r.record.payload, r.record.length)
    return True


cdef inline bint forward(Engine *e, Link *link, Relayed *r) noexcept nogil:
    """A frame from a partition to where its destination is; False when it has to wait."""
    cdef const char *frame = r.headers + VN_VNET_HDR
    cdef uint16_t port
    e.segments += segments_of(r.headers, r.record.length - VN_VNET_HDR)
    if is_group(frame):
        relay_flood(e, link, r)
        return True
    port = port_of(e, mac_at(frame))
    if port == NO_PORT and e.uplink != NULL:
        return uplink_send(e, link, r.headers, r.copied, r.record.payload, r.record.length)
    if port == 0:
        return take_for_machine(e, link, r)
    if port != NO_PORT and port != link.peer:
        return relay_or_wait(e, port, link, r)
    drop(e, link.peer, VN_DROP_no_destination if port == NO_PORT else VN_DROP_own_destination)
    return True


cdef inline bint take_at_host(Engine *e, Link *link, const Record *record) noexcept nogil:
    """A record to relay; False when it has to wait."""
    cdef Relayed r
    cdef const char *frame = r.headers + VN_VNET_HDR
    cdef uint16_t port
    r.record = record
    r.copied = record.length if record.length < COPIED else COPIED
    vn_copy_once(r.headers, record.payload, r.copied)
    if record.kind == VN_MARK:
        port = (<vn_mark *>r.headers).target
        return port == 0 or port >= VN_MAX_PORTS or relay_or_wait(e, port, link, &r)
    if mac_at(frame + 6) != e.port_mac[link.peer]:
        drop(e, link.peer, VN_DROP_bad_source)
    elif is_reserved(frame):
        drop(e, link.peer, VN_DROP_reserved_multicast)
    elif e.flags & VN_GUARD and not is_honest(e, link.peer, r.headers, frame, r.copied - VN_VNET_HDR, record.length - VN_VNET_HDR):
        drop(e, link.peer, VN_DROP_bad_address)
    elif not forward(e, link, &r):
        return False
    count_peer(e, link.peer, VN_P_rx_frames, 1)
    count_peer(e, link.peer, VN_P_rx_bytes, record.length - VN_VNET_HDR)
    return True


cdef inline bint is_throttled(Engine *e, Link *link) noexcept nogil:
    """Whether a link's records wait for its port's rate limit.

    What makes the queue too long is taken out at its head: what is for the uplink is dropped, all else forwarded. That
    is bounded, as whoever writes on and on would keep us here.
    """
    cdef Record record
    cdef uint64_t most
    cdef int n = 0
    if link.throttled_until == 0:
        return False
    if e.now >= link.throttled_until or e.up[link.peer].rate == 0:
        link.throttled_until = 0
        return False
    most = queue_limit(&e.up[link.peer])
    link.over_queue = True
    e.segments = 0
    while n < OVER_QUEUE_A_TURN and e.segments < SEGMENTS_A_TURN and rx_ready(&link.rx) > most and rx_next(&link.rx, &record):
        if not take_at_host(e, link, &record):
            break
        rx_consume(&link.rx, &record)
        n += 1
    link.over_queue = False
    if rx_publish(&link.rx):
        ring_doorbell(e, link)
    return True


cdef inline int drain_link(Engine *e, Link *link, int most, uint32_t segments=SEGMENTS_A_TURN) noexcept nogil:
    """Take up to `most` records from a link, and no more once they are cut into so many; the number taken.

    The kernel cuts super-frames in our thread where a NIC can't, so they are what takes time.
    """
    cdef Record record
    cdef int n = 0
    if link.held:
        if link.held_since == 0 and rx_ready(&link.rx):
            link.held_since = e.now
        if link.held_since == 0 or e.now - link.held_since < HELD_NS + e.queue_ns[link.peer]:
            return 0
        link_release(e, link, True)
    if is_throttled(e, link):
        return 0
    e.segments = 0
    if rx_ready(&link.rx):
        while n < most and e.segments < segments and rx_next(&link.rx, &record):
            if not (take_at_host(e, link, &record) if e.relays else take_at_partition(e, link, &record)):
                break
            rx_consume(&link.rx, &record)
            n += 1
            if link.rx.tail - link.rx.published >= VN_RING_SIZE // 8 and rx_publish(&link.rx):
                ring_doorbell(e, link)
        if rx_publish(&link.rx):
            ring_doorbell(e, link)
        vn_store_relaxed(&link.shown.used, e.now)
    if link.rx.fault:
        link_gone(e, link)
    return n
