"""The commands that the control thread gives the loop, obeyed between two rounds."""

from libc.stdint cimport int64_t, uint16_t, uint64_t
from libc.stdlib cimport free

from datapath.state.counters cimport *
from datapath.state.state cimport *
from datapath.loop.deliver cimport link_release, drain_link
from abi.abi cimport *
from datapath.link.link cimport *
from datapath.state.ring cimport *
from datapath.state.trace cimport trace
from datapath.state.events cimport TOKEN_RX_QUEUE, TOKEN_TAP, unwatch, watch
from datapath.link.shaper cimport set_rate

cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    int poll(pollfd *fds, unsigned long n, int timeout_ms)
    int POLLHUP


cdef inline bint command_done(Engine *e) noexcept nogil:
    return vn_load_acquire(&e.done_seq) == e.command_seq


cdef inline void attach_link(Engine *e, Link *link) noexcept nogil:
    link.held = not e.relays and link.peer != 0 and e.links[0] != NULL
    e.links[link.peer] = link
    e.linked[e.linked_count] = link.peer
    e.linked_count += 1
    trace(e, VN_TRACE_attached, link.id, link.peer, link.held)
    watch(e, link.doorbell, link.peer)
    show(link)
    activate(e, link)


cdef inline int open_link(Engine *e, uint16_t port) noexcept nogil:
    """0, or 1 when the mark found no room at the relay; without a relay there is nothing to keep in order."""
    cdef Link *link = e.links[port]
    cdef Link *relay = e.links[0]
    if link == NULL or link.gone or link.open:
        return 0
    if not e.relays and port != 0 and relay != NULL and relay.open and not push_mark(e, relay, port, link.id):
        return 1
    link.open = True
    trace(e, VN_TRACE_opened, link.id, port)
    show(link)
    return 0


cdef inline bint peer_let_go(const Link *link) noexcept nogil:
    """Whether the peer's end of the doorbell is closed: it is dead, or has read this link for the last time."""
    cdef pollfd doorbell
    doorbell.fd, doorbell.events, doorbell.revents = link.doorbell, 0, 0
    return poll(&doorbell, 1, 0) == 1 and (doorbell.revents & POLLHUP) != 0


cdef inline void count_unread(Engine *e, Link *link) noexcept nogil:
    """Count the frames that we wrote into a link and that nobody will read.

    A peer that still has its end of the doorbell will read all that it was shown when it detaches the link. One
    that has not, moves its cursor no more; so what lies behind that was not received, and is not counted twice.
    """
    cdef Tx *tx = &link.tx
    cdef const vn_record *record
    cdef uint64_t cursor = tx.published
    if peer_let_go(link):
        tx_room(tx, VN_RING_SIZE + 1)  # more than there can be, so it looks at the cursor
        cursor = tx.tail
    if tx.fault:
        return
    while <int64_t>(tx.head - cursor) > 0:  # a cursor of the peer's may be no record's end
        record = tx_record(tx, cursor)
        if record.kind == VN_FRAME:
            drop(e, link.peer, VN_DROP_unread)
        cursor += span_of(record.length)


cdef inline void count_undelivered(Engine *e, Link *link) noexcept nogil:
    """Count what the peer has written, and what found no way on: its receiver's ring is full, or a rate limit holds it."""
    cdef Record record
    cdef int i, reason = VN_DROP_over_rate if e.up[link.peer].rate else VN_DROP_ring_full
    for i in range(VN_RING_SIZE // VN_LINE):  # as many as fit: a peer that goes on writing does not keep us here
        if not rx_ready(&link.rx) or not rx_next(&link.rx, &record):
            break
        if record.kind == VN_FRAME:
            drop(e, link.peer, reason)
        rx_consume(&link.rx, &record)


cdef inline void settle_all(Engine *e) noexcept nogil:
    """Take what stands in the direct links, so that nothing of the relay, which is read for the last time, waits for it."""
    cdef int i
    cdef Link *direct
    for i in range(e.linked_count):
        direct = e.links[e.linked[i]]
        if direct.peer and not direct.held:
            drain_link(e, direct, VN_RING_SIZE // VN_LINE)
            direct.settling, direct.settled_until = False, e.now + 1


cdef inline int detach_link(Engine *e, uint16_t port) noexcept nogil:
    """Deliver what the peer had written, count what it will not read of ours, and take the link out of every list.

    The doorbell is the caller's to close; -1 for none.
    """
    cdef Link *link = e.links[port]
    cdef int i, doorbell
    if link == NULL:
        return -1
    doorbell = link.doorbell
    trace(e, VN_TRACE_detached, link.id, port)
    link.open = link.held = False
    if port == 0:
        settle_all(e)
    drain_link(e, link, VN_RING_SIZE // VN_LINE, SEGMENTS_AT_END)
    count_undelivered(e, link)
    count_unread(e, link)
    unwatch(e, doorbell)
    e.links[port] = NULL
    vn_fetch_and(&e.gone[port >> 6], ~(<uint64_t>1 << (port & 63)))  # it is not to be reported of the next link
    vn_fetch_and(&e.fast[port >> 6], ~(<uint64_t>1 << (port & 63)))
    for i in range(e.active_count):
        if e.active[i] == port:
            e.active_count -= 1
            e.active[i] = e.active[e.active_count]
            break
    for i in range(e.linked_count):
        if e.linked[i] == port:
            e.linked_count -= 1
            e.linked[i] = e.linked[e.linked_count]
            break
    e.asked[port] = 0
    if port == 0:  # no mark can come by a relay that is gone
        for i in range(e.linked_count):
            link_release(e, e.links[e.linked[i]])
    free(link)
    return doorbell


cdef inline void serve_tap(Engine *e, int fd) noexcept nogil:
    if e.tap >= 0:
        unwatch(e, e.tap)
    trace(e, VN_TRACE_tap, fd >= 0)
    e.tap = fd
    vn_store_relaxed(&e.shown_tap, <uint64_t>(fd + 1))
    e.tap_muted = False
    if fd >= 0:
        watch(e, fd, TOKEN_TAP)


cdef inline void serve_uplink(Engine *e, Uplink *uplink) noexcept nogil:
    """Use this uplink from now on, NULL for none; the old one is the control thread's to free."""
    cdef int i
    if e.uplink != NULL:
        for i in range(e.uplink.rx_queue_count):
            unwatch(e, e.uplink.rx_queues[i].fd)
    e.command.uplink, e.uplink = e.uplink, uplink
    trace(e, VN_TRACE_uplink, <uint64_t>uplink.rx_queue_count if uplink != NULL else 0)
    if uplink != NULL:
        for i in range(uplink.rx_queue_count):
            watch(e, uplink.rx_queues[i].fd, TOKEN_RX_QUEUE + i)


cdef inline void limit_rate(Engine *e, uint16_t port, uint64_t up, uint64_t down) noexcept nogil:
    """Bytes per second from a port to the uplink, and from the uplink to the port; 0 for no limit."""
    cdef bint was_shaped = e.up[port].rate != 0 or e.down[port].rate != 0
    cdef bint is_shaped = up != 0 or down != 0
    e.shaped += <int>is_shaped - <int>was_shaped
    trace(e, VN_TRACE_rate, port, up, down)
    if e.up[port].rate != up:
        set_rate(&e.up[port], up, e.now)
    if e.down[port].rate != down:
        set_rate(&e.down[port], down, e.now)
    if down == 0 and e.links[port] != NULL:
        release(e, e.links[port])


cdef inline void execute_command(Engine *e) noexcept nogil:
    """Carry out the command in the slot and say so."""
    cdef int kind = e.command.kind, result = 0
    if kind == COMMAND_ATTACH:
        attach_link(e, e.command.link)
    elif kind == COMMAND_OPEN:
        result = open_link(e, e.command.port)
    elif kind == COMMAND_CLOSE:
        if e.links[e.command.port] != NULL:
            e.links[e.command.port].open = False
            trace(e, VN_TRACE_closed, e.links[e.command.port].id, e.command.port)
            show(e.links[e.command.port])
    elif kind == COMMAND_DETACH:
        result = detach_link(e, e.command.port)
    elif kind == COMMAND_DIRECTORY:
        e.directory = e.command.directory
        e.directory_change = <uint64_t>-1
    elif kind == COMMAND_TAP:
        serve_tap(e, e.command.fd)
    elif kind == COMMAND_UPLINK:
        serve_uplink(e, e.command.uplink)
    elif kind == COMMAND_RATE:
        limit_rate(e, e.command.port, e.command.rate, e.command.rate_in)
    elif kind == COMMAND_STOP:
        e.stop = True
    e.command.fd = result
    e.command.kind = COMMAND_NONE
    vn_store_release(&e.done_seq, e.command_seq)
    ring_eventfd(e.done_fd)
