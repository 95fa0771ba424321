"""Links inside the loop: doorbells, the active list, faults, and sending one record.

A link is either *active*, then the loop looks at its ring in every round, or *armed*, then its doorbell wakes
the loop. Idle links are armed, so the cost of a frame does not grow with their number.

A doorbell is one byte on a pair of connected Unix sockets that the hosting daemon made. A socket and not an
eventfd: each end has a file description of its own, so a hostile peer can't take O_NONBLOCK away from ours
(an eventfd is one description for both, and a write to a full one would block us for ever), and when the
peer dies its end closes, which notifies us at once and without the hosting daemon. doorbell.h says how we keep from
closing the descriptors that a peer may send along.
"""

from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from datapath.state.counters cimport *
from datapath.state.state cimport *
from abi.abi cimport *
from datapath.state.ring cimport *
from datapath.state.trace cimport trace
from datapath.link.backpressure cimport note_room
from datapath.link.shaper cimport has_tokens

cdef extern from "<sys/socket.h>" nogil:
    ssize_t send(int fd, const void *buf, size_t n, int flags)
    int MSG_DONTWAIT
    int MSG_NOSIGNAL

cdef extern from "datapath/link/doorbell.h" nogil:
    enum doorbell_state:
        DOORBELL_RANG
        DOORBELL_ENDED
        DOORBELL_BROKEN
    bint doorbell_refuses_descriptors(int fd)
    doorbell_state doorbell_take(int fd, bint refuses)


cdef enum:
    FAST_TURN_NS = 100_000_000   # a link that moves a ring's bytes in less is worth huge pages


cdef inline void activate(Engine *e, Link *link) noexcept nogil:
    """Poll this link from now on."""
    if not link.active:
        link.active = True
        e.active[e.active_count] = link.peer
        e.active_count += 1
        vn_store_relaxed(&link.rx.own.cpu, e.cpu)


cdef inline void deactivate(Engine *e, int position) noexcept nogil:
    cdef Link *link = e.links[e.active[position]]
    link.active = False
    vn_store_relaxed(&link.rx.own.cpu, 0)
    e.active_count -= 1
    e.active[position] = e.active[e.active_count]


cdef inline void show(Link *link) noexcept nogil:
    """Let the control thread know how a link is."""
    cdef uint64_t state = <uint64_t>(link.rx.fault if link.rx.fault else link.tx.fault) << SHOWN_FAULT
    if link.open:
        state |= SHOWN_OPEN
    if link.gone or link.held or link.throttled_until:
        state |= SHOWN_WAITS
    vn_store_relaxed(&link.shown.state, state)


cdef inline void link_gone(Engine *e, Link *link) noexcept nogil:
    """The peer died or broke a rule: stop writing, and notify the control thread once."""
    link.open = False
    if not link.gone:
        link.gone = True
        if link.rx.fault or link.tx.fault:
            count(e, VN_C_link_faults, 1)
        trace(e, VN_TRACE_gone, link.id, link.peer, link.rx.fault if link.rx.fault else link.tx.fault)
        show(link)  # before it is asked for
        post(e, e.gone, link.peer)


cdef inline void ring_doorbell(Engine *e, Link *link) noexcept nogil:
    """Wake the peer; a full socket means that enough bytes wait for it already."""
    cdef char byte = 1
    count_peer(e, link.peer, VN_P_wakeups, 1)
    send(link.doorbell, &byte, 1, MSG_DONTWAIT | MSG_NOSIGNAL)


cdef inline void answer_doorbell(Engine *e, Link *link) noexcept nogil:
    """Take the bytes off the doorbell; its end is the peer's death, and a descriptor in it breaks a rule."""
    cdef doorbell_state said = doorbell_take(link.doorbell, link.doorbell_is_safe)
    if said == DOORBELL_BROKEN and not link.rx.fault:
        link.rx.fault = VN_FAULT_doorbell_broken
    if said != DOORBELL_RANG:
        link_gone(e, link)
    activate(e, link)


cdef inline void note_turn(Engine *e, Link *link) noexcept nogil:
    """A ring on small pages begins anew: notify the control thread, once, when it does so fast."""
    if e.now - link.turned_at < FAST_TURN_NS:
        link.small = False
        post(e, e.fast, link.peer)
    link.turned_at = e.now


cdef inline void publish(Engine *e, Link *link) noexcept nogil:
    """Show the peer what was committed: all of it, or with a rate limit what it lets go now."""
    if link.small and (link.tx.head ^ link.tx.published) >= VN_RING_SIZE:
        note_turn(e, link)
    if e.shaped and e.down[link.peer].rate:
        release(e, link)
    elif tx_publish(&link.tx):
        ring_doorbell(e, link)
    vn_store_relaxed(&link.shown.used, e.now)


cdef inline void release(Engine *e, Link *link) noexcept nogil:
    """Publish committed records as long as there are tokens for those that count; the others pay nothing."""
    cdef Shaper *limit = &e.down[link.peer]
    cdef uint64_t cursor = link.tx.published, end, bytes
    while cursor != link.tx.head:
        end = tx_next_waiting(&link.tx, cursor, &bytes)
        if bytes:
            if limit.rate and not has_tokens(limit, e.now):
                break
            limit.tokens -= <int64_t>bytes
        cursor = end
    if tx_publish_to(&link.tx, cursor):
        ring_doorbell(e, link)


cdef inline bint push(Engine *e, Link *link, const char *payload, uint32_t length, uint16_t kind, uint16_t source,
                      uint64_t link_id) noexcept nogil:
    """Copy one record into a link and publish it; False when there is no room (or the link is broken)."""
    cdef char *place = tx_reserve(&link.tx, span_of(length))
    note_room(e, link)
    if place == NULL:
        if link.tx.fault:
            link_gone(e, link)
        return False
    memcpy(place + sizeof(vn_record), payload, length)
    tx_commit(&link.tx, length, kind, source, link_id)
    publish(e, link)
    return True


cdef inline bint push_mark(Engine *e, Link *relay, uint16_t target, uint64_t link_id) noexcept nogil:
    """Tell `target`, behind all that went to it by relay, that the rest comes on the direct link."""
    cdef vn_mark mark
    memset(&mark, 0, sizeof(mark))
    mark.target = target
    return push(e, relay, <const char *>&mark, sizeof(mark), VN_MARK, e.port, link_id)
