"""The partition's interface: frames read from the TAP into rings, and written to it out of rings.

Each frame carries a virtio_net_hdr (IFF_VNET_HDR), so a 64 KiB super-frame with a partial checksum crosses
from TAP to TAP as it is. A frame is read into memory of our own and copied into a ring when it is known whose it is:
whoever has a ring mapped sees all that ever stood in it, so nothing that is not for him may stand there for a moment.
"""

from libc.errno cimport EAGAIN, EINTR, EINVAL, EIO, ENOBUFS, ENOMEM, errno
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy
from posix.unistd cimport read, write

from datapath.frame.address_table cimport is_honest
from datapath.state.counters cimport *
from datapath.state.state cimport *
from datapath.frame.inspect cimport Inspected, PEEK, inspect
from datapath.frame.neighbour cimport NEIGHBOUR_ANSWER, may_ask_alone, neighbour_answer, sought_port
from abi.abi cimport *
from datapath.link.backpressure cimport *
from datapath.link.link cimport *
from datapath.frame.mac_table cimport *
from datapath.state.events cimport unwatch
from datapath.state.ring cimport *
from datapath.state.trace cimport trace
from datapath.link.shaper cimport metered, queue_is_long

cdef extern from "<errno.h>" nogil:
    int EBADFD

cdef extern from "<sys/uio.h>" nogil:
    struct iovec:
        void *iov_base
        size_t iov_len
    ssize_t writev(int fd, const iovec *iov, int n)

cdef enum:
    FLOOD = 0xFFFE               # as a destination: every live port but the source
    HEADERS = VN_VNET_HDR + VN_ETH_HDR
    PAYLOAD_MAX = VN_RECORD_MAX - sizeof(vn_record)
    BULK = 8192                  # bytes; longer frames are parts of a bulk transfer


cdef inline void tap_lost(Engine *e) noexcept nogil:
    """The interface was deleted under us; closing is the control thread's work."""
    unwatch(e, e.tap)
    e.tap = -1
    trace(e, VN_TRACE_tap_gone)
    vn_store_relaxed(&e.shown_tap, 0)
    vn_store_release(&e.tap_gone, 1)
    ring_eventfd(e.events_fd)


cdef inline int classify(Engine *e, const char *frame, uint32_t length, uint16_t *port) noexcept nogil:
    """Where a frame from our TAP goes: sets the port (or FLOOD) and returns -1, or returns the drop reason.

    With an uplink, what is for no port is the hosting daemon's to send on.
    """
    cdef uint64_t destination = mac_at(frame)
    port[0] = NO_PORT
    if mac_at(frame + 6) != e.mac:
        return VN_DROP_bad_source
    if e.flags & VN_GUARD and e.port and not is_honest(e, e.port, frame - VN_VNET_HDR, frame, length if length < PEEK else PEEK, length):
        return VN_DROP_bad_address
    if is_group(frame):
        port[0] = FLOOD
        return VN_DROP_reserved_multicast if is_reserved(frame) else -1
    if destination == e.mac:
        return VN_DROP_own_destination
    port[0] = port_of(e, destination)
    if port[0] == NO_PORT and e.flags & VN_UPLINK and e.port:
        port[0] = 0
    return VN_DROP_no_destination if port[0] == NO_PORT else -1


cdef inline Link *route(Engine *e, uint16_t port) noexcept nogil:
    """The link that leads to a port now: its own, else the relay's, else NULL."""
    cdef Link *link
    if port != FLOOD:
        link = e.links[port]
        if link != NULL and link.open:
            return link
    link = e.links[0]
    return link if link != NULL and link.open else NULL


cdef inline void sent(Engine *e, Link *link, uint16_t port, uint32_t length) noexcept nogil:
    """Count a frame that went out, and ask for a direct link when it took the relay."""
    cdef uint16_t peer = 0 if port == FLOOD else port
    count_peer(e, peer, VN_P_tx_frames, 1)
    count_peer(e, peer, VN_P_tx_bytes, length - VN_VNET_HDR)
    if link.peer != peer:
        count_peer(e, peer, VN_P_tx_relayed, 1)
        want_link(e, port)


cdef inline void flood_direct(Engine *e, const char *payload, uint32_t length) noexcept nogil:
    """Without a hosting daemon a broadcast still reaches every peer that has a direct link."""
    cdef int i
    cdef Link *link
    cdef bint any = False
    for i in range(e.linked_count):
        link = e.links[e.linked[i]]
        if link.open:
            any = True
            if push(e, link, payload, length, VN_FRAME, e.port, 0):
                sent(e, link, link.peer, length)
            else:
                drop(e, link.peer, VN_DROP_ring_full)
    if not any and not e.relays:
        drop(e, NO_PORT, VN_DROP_no_link)


cdef inline bint is_metered(const Engine *e, const Link *link) noexcept nogil:
    """Whether what comes from our interface counts for a rate limit: where it is the way to the outside (nat mode)."""
    return e.shaped and e.uplink == NULL and e.down[link.peer].rate


cdef inline bint send_out(Engine *e, const char *payload, uint32_t length, uint16_t port) noexcept nogil:
    """Copy a frame from the TAP into the right link; False when its ring is full and may soon have room."""
    cdef Link *link = route(e, port)
    cdef uint16_t peer = NO_PORT if port == FLOOD else port
    if link == NULL:
        if port == FLOOD:
            flood_direct(e, payload, length)
        else:
            drop(e, port, VN_DROP_no_link if e.port_state[port] == VN_PORT_LIVE else VN_DROP_peer_down)
        return True
    if is_metered(e, link) and queue_is_long(e, link):
        drop(e, peer, VN_DROP_over_rate)
        return True
    if push(e, link, payload, length, VN_FRAME, e.port, metered(e, port, payload, length) if is_metered(e, link) else 0):
        sent(e, link, port, length)
        return True
    if may_wait(link):
        return False
    drop(e, peer, VN_DROP_ring_full)
    return True


cdef inline void retry_pending(Engine *e) noexcept nogil:
    """Try the waiting frame again; give up when its receiver did not read for the whole waiting time."""
    cdef bint went = send_out(e, e.scratch + sizeof(vn_record), e.pending.length, e.pending.port)
    cdef Link *link = route(e, e.pending.port)
    if not went and holds(e, &e.pending.until, True):
        return
    if not went:
        drop(e, NO_PORT if e.pending.port == FLOOD else e.pending.port, VN_DROP_ring_full)
    end_hold(e, &e.pending.until, link, e.now - e.tap_mixed_at < WAITS_PERIOD_NS, not went)
    e.pending.length = 0


cdef inline bint find_neighbour(Engine *e, char *frame, uint32_t length, uint16_t *port) noexcept nogil:
    """A broadcast from our TAP that asks for the MAC of a port's address: True when it is answered.

    Else it may be for that port alone from now on; neighbour.pxd says when.
    """
    cdef Inspected found
    cdef char answer[NEIGHBOUR_ANSWER]
    cdef uint16_t holder
    cdef uint32_t n
    inspect(frame, length if length < PEEK else PEEK, length, &found)
    holder = sought_port(e, frame, &found)
    if holder == NO_PORT:
        return False
    if e.flags & VN_GUARD and e.port:
        n = neighbour_answer(answer, frame, &found, <const char *>&e.port_mac[holder])
        if write(e.tap, answer, n) == <ssize_t>n:
            count(e, VN_C_tap_tx_frames, 1)
            count(e, VN_C_tap_tx_bytes, n - VN_VNET_HDR)
            return True
    elif may_ask_alone(e, holder, frame, &found):
        memcpy(frame, &e.port_mac[holder], 6)
        port[0] = holder
    return False


cdef inline bint tap_read(Engine *e) noexcept nogil:
    """Move one frame from the TAP to where it goes; False when there is none."""
    cdef Link *link
    cdef char *payload = e.scratch + sizeof(vn_record)
    cdef uint16_t port
    cdef int reason
    cdef ssize_t got = read(e.tap, payload, PAYLOAD_MAX)
    if got < 0 and (errno == EIO or errno == EBADFD):
        tap_lost(e)
        return False
    if got < 0 and (errno == EAGAIN or errno == EINTR):
        return False
    if got < 0:  # one that the kernel can't hand over, a malformed super-frame say, and has thrown away
        drop(e, NO_PORT, VN_DROP_bad_frame)
        return True
    count(e, VN_C_tap_rx_frames, 1)
    count(e, VN_C_tap_rx_bytes, got - VN_VNET_HDR)
    if got < HEADERS or got >= PAYLOAD_MAX:
        drop(e, NO_PORT, VN_DROP_bad_frame)
        return True
    if got > BULK:
        e.busy_at = e.now
    reason = classify(e, payload + VN_VNET_HDR, <uint32_t>got - VN_VNET_HDR, &port)
    if reason >= 0:
        drop(e, NO_PORT, reason)
        return True
    if port == FLOOD and find_neighbour(e, payload + VN_VNET_HDR, <uint32_t>got - VN_VNET_HDR, &port):
        return True
    if port != e.tap_port:
        e.tap_port, e.tap_mixed_at = port, e.now
    if not send_out(e, payload, <uint32_t>got, port):
        keep(e, <uint32_t>got, port)
    link = route(e, port)
    if link != NULL:
        activate(e, link)
    return True


cdef inline void keep(Engine *e, uint32_t length, uint16_t port) noexcept nogil:
    """Keep the frame in the scratch record until its ring has room."""
    e.pending.length = length
    e.pending.port = port
    holds(e, &e.pending.until, True)


cdef inline void tap_write(Engine *e, uint16_t source, char *headers, uint32_t copied, const char *payload, uint32_t length) noexcept nogil:
    """Give a frame to the partition: our checked copy of its headers, and the rest straight from the ring."""
    cdef iovec parts[2]
    cdef int reason
    parts[0].iov_base, parts[0].iov_len = headers, copied
    parts[1].iov_base, parts[1].iov_len = <void *>(payload + copied), length - copied
    if e.tap < 0:
        drop(e, source, VN_DROP_tap_down)
    elif writev(e.tap, parts, 2) >= 0:
        if length > BULK:
            e.busy_at = e.now
        count(e, VN_C_tap_tx_frames, 1)
        count(e, VN_C_tap_tx_bytes, length - VN_VNET_HDR)
        if not e.relays:  # the hosting daemon has counted it for whatever becomes of it
            count_peer(e, source, VN_P_rx_frames, 1)
            count_peer(e, source, VN_P_rx_bytes, length - VN_VNET_HDR)
    else:
        reason = VN_DROP_tap_down
        if errno == EINVAL:
            reason = VN_DROP_tap_refused
        elif errno == ENOMEM or errno == ENOBUFS or errno == EAGAIN:
            reason = VN_DROP_tap_full
        elif errno != EIO:
            tap_lost(e)
        drop(e, source, reason)
