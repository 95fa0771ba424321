"""The uplink, inward: frames read from the real NIC, straight into the ring of the partition that they are for.

The kernel has spread the frames over the lanes by what they are for (vnicd/lanes.py). A lane that
belongs to one port is read straight into that port's ring, and is not read while that has no room: then the
frames wait in the lane's socket, and overflow there at no other port's cost. Only the exact look here decides
what is whose; the filter in front of the lanes may let through too much.
"""

from libc.errno cimport EINVAL, errno
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy
from posix.unistd cimport read

from datapath.frame.address_table cimport *
from datapath.state.counters cimport *
from datapath.state.state cimport *
from datapath.frame.inspect cimport *
from abi.abi cimport *
from datapath.link.link cimport *
from datapath.frame.mac_table cimport *
from datapath.state.ring cimport *
from datapath.link.shaper cimport metered, queue_is_long
from datapath.io.tap cimport BULK, HEADERS, PAYLOAD_MAX

cdef inline void arrived(Engine *e, uint16_t port, uint32_t length) noexcept nogil:
    count_peer(e, port, VN_P_tx_frames, 1)
    count_peer(e, port, VN_P_tx_bytes, length - VN_VNET_HDR)
    count_peer(e, port, VN_P_down_frames, 1)
    count_peer(e, port, VN_P_down_bytes, length - VN_VNET_HDR)


cdef inline void deliver(Engine *e, uint16_t port, const char *payload, uint32_t length) noexcept nogil:
    """Copy a frame from the uplink into a port's ring, or drop it."""
    cdef Link *link = e.links[port]
    if link == NULL or not link.open:
        drop(e, port, VN_DROP_no_link if e.port_state[port] == VN_PORT_LIVE else VN_DROP_peer_down)
    elif queue_is_long(e, link):
        drop(e, port, VN_DROP_over_rate)
    elif push(e, link, payload, length, VN_FRAME, 0, metered(e, port, payload, length)):
        arrived(e, port, length)
    else:
        drop(e, port, VN_DROP_ring_full)


cdef inline void deliver_to_all(Engine *e, const char *payload, uint32_t length) noexcept nogil:
    cdef int i
    for i in range(e.linked_count):
        deliver(e, e.linked[i], payload, length)


cdef inline bint claims_ours(const Engine *e, const char *frame, const Inspected *found) noexcept nogil:
    """Whether a frame from outside says that it comes from a partition, or that a partition's address is its own."""
    cdef uint16_t claimed = nd_target(found) if found.icmp6 == ND_NA else 0  # who only asks is to be answered
    cdef uint16_t port = port_of_address(e, frame + found.source, family_of(found))
    if (port == NO_PORT or port == 0) and claimed:
        port = port_of_address(e, frame + claimed, 6)
    return port != NO_PORT and port != 0


cdef inline bint is_announcement(const char *frame, const Inspected *found) noexcept nogil:
    """Whether ARP tells of its sender unasked, as a router does that takes over from another."""
    return memcmp(frame + found.source, frame + found.target, 4) == 0


cdef inline uint16_t whose_in_shared(Engine *e, char *frame, uint32_t length, bint *to_all) noexcept nogil:
    """The port that a frame to the shared MAC is for, by its addresses; rewritten for it. NO_PORT for none."""
    cdef Inspected found
    cdef uint16_t port, at
    inspect(frame, length, length, &found)  # all of it is in memory of ours
    if found.kind == FRAME_OTHER or found.kind == FRAME_BAD:
        to_all[0] = is_group(frame) and found.kind == FRAME_OTHER
        return NO_PORT
    if claims_ours(e, frame, &found):
        drop(e, NO_PORT, VN_DROP_bad_address)
        return NO_PORT
    at = nd_target(&found) if found.icmp6 == ND_NS else 0
    if is_group(frame) and at == 0 and (found.kind != FRAME_ARP or is_announcement(frame, &found)):
        to_all[0] = True
        return NO_PORT
    port = port_of_address(e, frame + (at if at else found.target), family_of(&found))
    if port == NO_PORT or port == 0:
        return NO_PORT
    if found.kind == FRAME_ARP:
        set_target_link_address(frame, &found, <const char *>&e.port_mac[port])
    if not is_group(frame):
        memcpy(frame, &e.port_mac[port], 6)
    return port


cdef inline uint16_t whose(Engine *e, char *frame, uint32_t length, bint *to_all) noexcept nogil:
    """The port that a frame from the uplink is for, NO_PORT when it is for none or (`to_all`) for every one."""
    cdef uint16_t port
    to_all[0] = False
    if is_reserved(frame) or port_of(e, mac_at(frame + 6)) != NO_PORT:
        return NO_PORT
    if e.uplink.shared:
        return whose_in_shared(e, frame, length, to_all)
    if is_group(frame):
        to_all[0] = True
        return NO_PORT
    port = port_of(e, mac_at(frame))
    return NO_PORT if port == 0 else port


cdef inline bint lane_waits(Engine *e, Lane *lane, Link *link) noexcept nogil:
    """Whether a lane is left alone for now, because the ring of its port has no room."""
    if tx_room(&link.tx, VN_RECORD_MAX) >= VN_RECORD_MAX:
        link.stalled = False
    elif not link.stalled and not link.tx.fault and lane.hold_until == 0:
        count(e, VN_C_holds, 1)
        lane.hold_until = e.now + e.hold_ns
        return True
    elif not link.stalled and e.now < lane.hold_until:
        return True
    elif lane.hold_until:
        link.stalled = True
    lane.hold_until = 0
    return False


cdef inline bint lane_read(Engine *e, Lane *lane) noexcept nogil:
    """Move one frame from a lane to where it goes; False when there is none, or no room."""
    cdef Link *link = e.links[lane.guess] if lane.guess != NO_PORT else NULL
    cdef char *place = NULL
    cdef char *payload
    cdef uint16_t port
    cdef ssize_t got
    cdef bint to_all
    if link != NULL and link.open:
        if lane_waits(e, lane, link):
            return False
        if not queue_is_long(e, link):
            place = tx_reserve(&link.tx, VN_RECORD_MAX)
    payload = (place if place != NULL else e.inward) + sizeof(vn_record)
    got = read(lane.fd, payload, PAYLOAD_MAX)
    if got < 0 and errno == EINVAL:  # a frame that the kernel can't put in a vnet header, and has thrown away
        drop(e, NO_PORT, VN_DROP_bad_frame)
        return True
    if got < 0:
        return False  # nothing there; or the NIC went down, of which the control thread hears by netlink
    if got < HEADERS or got >= PAYLOAD_MAX:
        drop(e, NO_PORT, VN_DROP_bad_frame)
        return True
    if got > BULK:
        e.busy_at = e.now
    port = whose(e, payload + VN_VNET_HDR, <uint32_t>got - VN_VNET_HDR, &to_all)
    if port != NO_PORT or to_all:
        count(e, VN_C_uplink_rx_frames, 1)
        count(e, VN_C_uplink_rx_bytes, got - VN_VNET_HDR)
    if to_all:
        if place != NULL:
            memcpy(e.inward + sizeof(vn_record), payload, got)
        deliver_to_all(e, e.inward + sizeof(vn_record), <uint32_t>got)
    elif port != NO_PORT and place != NULL and port == lane.guess:
        tx_commit(&link.tx, <uint32_t>got, VN_FRAME, 0, metered(e, port, payload, <uint32_t>got))
        publish(e, link)
        activate(e, link)
        arrived(e, port, <uint32_t>got)
    elif port != NO_PORT:
        if place != NULL:
            memcpy(e.inward + sizeof(vn_record), payload, got)
        deliver(e, port, e.inward + sizeof(vn_record), <uint32_t>got)
        lane.guess = port
    return True


cdef inline int lane_pull(Engine *e, Lane *lane, int most) noexcept nogil:
    """Take up to `most` frames from a lane; the number taken."""
    cdef int n = 0
    while n < most and lane_read(e, lane):
        n += 1
    return n
