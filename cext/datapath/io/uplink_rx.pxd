"""The uplink, inward: frames read from the real NIC, into the ring of the partition that they are for.

The kernel has spread the frames over the rx queues by what they are for (vnicd/packet/fanout_filter.py). An rx queue is
not read while the port of its last frame has no room: then the frames wait in its socket, and overflow there at no
other port's cost. Only the exact look here decides what is whose; the filter in front of the rx queues may let through
too much. And it decides before a byte stands in a ring, as whoever has that mapped sees all that ever stood there: a
long frame is looked at while it waits in the socket, which spares a copy of it; a short one is read into memory of our
own first.

A super-frame in a tunnel is cut here: its vnet header can't tell of the tunnel, so the partition's kernel would refuse
it, or take it for another. So is one that is longer than a record (BIG TCP): into pieces as long as a packet can be.
"""

from libc.errno cimport EINVAL, errno
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset
from posix.unistd cimport read

from datapath.frame.address_table cimport *
from datapath.state.counters cimport *
from datapath.state.state cimport *
from datapath.frame.inspect cimport *
from abi.abi cimport *
from datapath.link.backpressure cimport *
from datapath.link.link cimport *
from datapath.frame.mac_table cimport *
from datapath.frame.neighbour cimport may_ask_alone, sought_port
from datapath.frame.segment cimport *
from datapath.state.ring cimport *
from datapath.link.shaper cimport may_flood, metered, queue_is_long
from datapath.io.tap cimport BULK, HEADERS, PAYLOAD_MAX

cdef extern from "<sys/socket.h>" nogil:
    ssize_t recv(int fd, void *buf, size_t n, int flags)
    int MSG_PEEK
    int MSG_TRUNC


cdef enum:
    ROOM_MOST = VN_RING_SIZE // 2  # bytes of a ring that are waited for: the doorbell for room rings then


cdef inline void arrived(Engine *e, uint16_t port, uint32_t length) noexcept nogil:
    count_peer(e, port, VN_P_tx_frames, 1)
    count_peer(e, port, VN_P_tx_bytes, length - VN_VNET_HDR)
    count_peer(e, port, VN_P_down_frames, 1)
    count_peer(e, port, VN_P_down_bytes, length - VN_VNET_HDR)


cdef inline void count_inbound(Engine *e, uint32_t length) noexcept nogil:
    """A frame has come in that is for a partition."""
    count(e, VN_C_uplink_rx_frames, 1)
    count(e, VN_C_uplink_rx_bytes, length - VN_VNET_HDR)


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


cdef inline void spread(Engine *e, uint16_t port, bint to_all, const char *payload, uint32_t length) noexcept nogil:
    """Deliver a frame to a port or to each; neither, when it is for nobody here."""
    cdef int i
    if port == NO_PORT and not to_all:
        return
    count_inbound(e, length)
    if not to_all:
        deliver(e, port, payload, length)
        return
    if not may_flood(e, 0):
        drop(e, NO_PORT, VN_DROP_storm)
        return
    for i in range(e.linked_count):
        deliver(e, e.linked[i], payload, length)


cdef inline uint64_t spread_pieces(Engine *e, uint16_t port, bint to_all, const char *payload,
                                   uint32_t length) noexcept nogil:
    """Deliver what a super-frame is cut into, each piece on its own; bytes of a ring that they take."""
    cdef Segments segments
    cdef char *frame = e.segment + VN_VNET_HDR
    cdef uint32_t size
    cdef uint64_t took = 0
    if port == NO_PORT and not to_all:
        return 0
    if not segments_begin(&segments, payload, payload + VN_VNET_HDR, length - VN_VNET_HDR, True):
        count_inbound(e, length)
        drop(e, port, VN_DROP_bad_frame)
        return 0
    if segments.inner == 0:
        join_segments(&segments)
    size = next_segment(&segments, e.segment, frame)
    while size:
        spread(e, port, to_all, e.segment, VN_VNET_HDR + size)
        took += span_of(VN_VNET_HDR + size)
        size = next_segment(&segments, e.segment, frame)
    return took


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


cdef inline uint16_t whose_in_shared(Engine *e, char *frame, uint32_t seen, uint32_t length, bint *to_all) noexcept nogil:
    """The port that a frame to the shared MAC is for, by its addresses; rewritten for it. NO_PORT for none."""
    cdef Inspected found
    cdef uint16_t port, at
    inspect(frame, seen, length, &found)
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


cdef inline uint16_t whose(Engine *e, char *frame, uint32_t seen, uint32_t length, bint *to_all) noexcept nogil:
    """The port that a frame from the uplink is for, NO_PORT when it is for none or (`to_all`) for every one.

    Of its `length` bytes `seen` are at hand: all of them, or at least PEEK.
    """
    cdef Inspected found
    cdef uint16_t port
    to_all[0] = False
    if is_reserved(frame) or port_of(e, mac_at(frame + 6)) != NO_PORT:
        return NO_PORT
    if e.uplink.shared:
        return whose_in_shared(e, frame, seen, length, to_all)
    if is_group(frame):
        inspect(frame, seen, length, &found)
        port = sought_port(e, frame, &found)
        if port != NO_PORT and port != 0 and may_ask_alone(e, port, frame, &found):
            return port
        to_all[0] = True
        return NO_PORT
    port = port_of(e, mac_at(frame))
    return NO_PORT if port == 0 else port


cdef inline bint rx_queue_waits(Engine *e, RxQueue *queue, Link *link) noexcept nogil:
    """Whether an rx queue is left alone for now, because the ring of its port has no room."""
    cdef uint64_t need = max(min(queue.took, <uint64_t>ROOM_MOST), <uint64_t>VN_RECORD_MAX)
    cdef bint has_room = tx_room(&link.tx, need) >= need
    if has_room:
        note_room(e, link)
    elif holds(e, &queue.backpressure_until, not link.tx.fault and may_wait(link)):
        return True
    end_hold(e, &queue.backpressure_until, link, False, not has_room)
    return False


cdef inline Link *bulk_receiver(Engine *e, RxQueue *queue) noexcept nogil:
    """Whose the next frame is, if it is a long one for a single port whose ring has room for it as it is; else NULL."""
    cdef char head[HEADERS + PEEK]
    cdef ssize_t got = recv(queue.fd, head, sizeof(head), MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT)
    cdef uint16_t port
    cdef bint to_all
    cdef Link *link
    if got <= BULK or got >= PAYLOAD_MAX:
        return NULL
    if is_encapsulated(head, head + VN_VNET_HDR, sizeof(head) - VN_VNET_HDR, <uint32_t>got - VN_VNET_HDR):
        return NULL
    port = whose(e, head + VN_VNET_HDR, sizeof(head) - VN_VNET_HDR, <uint32_t>got - VN_VNET_HDR, &to_all)
    link = e.links[port] if port != NO_PORT else NULL
    if link == NULL or not link.open or queue_is_long(e, link):
        return NULL
    return link if tx_room(&link.tx, VN_RECORD_MAX) >= VN_RECORD_MAX else NULL


cdef inline void rx_queue_take(Engine *e, RxQueue *queue, Link *link, char *payload, uint32_t length) noexcept nogil:
    """Pass on a frame that was read: into the ring of `link`, where it stands already, or (NULL) from our memory."""
    cdef uint32_t shift = strip_jumbo(payload, length) if length >= PAYLOAD_MAX else 0
    cdef bint is_cut = length >= PAYLOAD_MAX, to_all
    cdef char *frame
    cdef uint16_t port
    payload, length = payload + shift, length - shift
    frame = payload + VN_VNET_HDR
    is_cut = is_cut or is_encapsulated(payload, frame, length - VN_VNET_HDR, length - VN_VNET_HDR)
    port = whose(e, frame, length - VN_VNET_HDR, length - VN_VNET_HDR, &to_all)
    queue.took = 0
    if link == NULL:
        if is_cut:
            queue.took = spread_pieces(e, port, to_all, payload, length)
        else:
            spread(e, port, to_all, payload, length)
    elif port != link.peer or to_all or is_cut:  # changed since it was looked at: by a sender on this machine
        memset(payload, 0, length)
        drop(e, NO_PORT, VN_DROP_bad_frame)
    else:
        count_inbound(e, length)
        tx_commit(&link.tx, length, VN_FRAME, 0, metered(e, port, payload, length))
        publish(e, link)
        arrived(e, port, length)
    if port != NO_PORT:
        queue.last = port
        if e.links[port] != NULL:
            activate(e, e.links[port])  # there will be an answer


cdef inline bint rx_queue_read(Engine *e, RxQueue *queue) noexcept nogil:
    """Move one frame from an rx queue to where it goes; False when there is none, or no room."""
    cdef Link *link = e.links[queue.last] if queue.last != NO_PORT else NULL
    cdef char *place = NULL
    cdef char *payload
    cdef ssize_t got, most
    if link != NULL and link.open and rx_queue_waits(e, queue, link):
        return False
    link = bulk_receiver(e, queue) if queue.bulk else NULL
    if link != NULL:
        place = tx_reserve(&link.tx, VN_RECORD_MAX)
    payload = (place if place != NULL else e.inward) + sizeof(vn_record)
    most = PAYLOAD_MAX if place != NULL else INWARD_MAX - <ssize_t>sizeof(vn_record)
    got = read(queue.fd, payload, most)
    queue.bulk = got > BULK
    if got < 0 and errno == EINVAL:  # a frame that the kernel can't put in a vnet header, and has thrown away
        drop(e, NO_PORT, VN_DROP_bad_frame)
        return True
    if got < 0:
        return False  # nothing there; or the NIC went down, of which the control thread hears by netlink
    if got < HEADERS or got >= most:
        drop(e, NO_PORT, VN_DROP_bad_frame)
        return True
    if queue.bulk:
        e.busy_at = e.now
    rx_queue_take(e, queue, link if place != NULL else NULL, payload, <uint32_t>got)
    return True


cdef inline int drain_rx_queue(Engine *e, RxQueue *queue, int most) noexcept nogil:
    """Take up to `most` frames from an rx queue; the number taken."""
    cdef int n = 0
    while n < most and rx_queue_read(e, queue):
        n += 1
    return n
