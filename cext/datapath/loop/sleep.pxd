"""Sleeping and waking: what a loop waits for, and when it may."""

from libc.stdint cimport uint64_t
from posix.unistd cimport read

from datapath.state.counters cimport *
from datapath.state.state cimport *
from abi.abi cimport *
from datapath.link.link cimport *
from datapath.state.events cimport *
from datapath.state.ring cimport *
from datapath.link.shaper cimport *
from datapath.io.tap cimport route

cdef enum:
    EVENTS = 64
    HELD_LOOK_MS = 20            # how often a sleeping loop looks at a held link


cdef inline void poll_events(Engine *e, int timeout_ms) noexcept nogil:
    """Wait for events; links whose doorbell rang become active."""
    cdef epoll_event events[EVENTS]
    cdef int n = epoll_wait(e.poll_fd, events, EVENTS, timeout_ms), i
    cdef uint64_t token, counter
    cdef Link *link
    for i in range(n):
        token = events[i].data.u64
        if token == TOKEN_COMMAND:
            read(e.command_fd, &counter, sizeof(counter))
        elif token >= TOKEN_RX_QUEUE:
            if e.uplink != NULL and token - TOKEN_RX_QUEUE < <uint64_t>e.uplink.rx_queue_count:
                e.uplink.rx_queues[token - TOKEN_RX_QUEUE].active = True
        elif token < VN_MAX_PORTS:
            link = e.links[token]
            if link != NULL:
                answer_doorbell(e, link)
                if link.gone:
                    unwatch(e, link.doorbell)


cdef inline int ms_until(Engine *e, uint64_t when, int timeout_ms) noexcept nogil:
    """The sooner of a timeout (-1 for none) and a time in ns, in ms."""
    cdef int ms = <int>((when - e.now) // 1_000_000 + 1) if when > e.now else 0
    return ms if timeout_ms < 0 or ms < timeout_ms else timeout_ms


cdef inline void time_releases(Engine *e, int *timeout_ms) noexcept nogil:
    """Wake up when a rate limit lets go what waits in a ring of ours."""
    cdef int i
    cdef Link *link
    if e.shaped == 0:
        return
    for i in range(e.linked_count):
        link = e.links[e.linked[i]]
        if tx_waiting(&link.tx) and e.down[link.peer].rate:
            timeout_ms[0] = ms_until(e, tokens_at(&e.down[link.peer], e.now), timeout_ms[0])


cdef inline bint arm_all(Engine *e, int *timeout_ms) noexcept nogil:
    """Arm every active link; False when one has work, so that the loop must go on.

    Rx queues need no arming: epoll reports one as long as a frame waits in it.
    """
    cdef int i = 0
    cdef Link *link
    if e.uplink != NULL:
        for i in range(e.uplink.rx_queue_count):
            e.uplink.rx_queues[i].active = False
    i = 0
    time_releases(e, timeout_ms)
    while i < e.active_count:
        link = e.links[e.active[i]]
        if link.held:
            timeout_ms[0] = ms_until(e, e.now + HELD_LOOK_MS * <uint64_t>1_000_000, timeout_ms[0])
            i += 1
        elif link.gone:
            deactivate(e, i)
        elif link.throttled_until > e.now and e.up[link.peer].rate:
            timeout_ms[0] = ms_until(e, link.throttled_until, timeout_ms[0])
            if rx_arm_at(&link.rx, queue_limit(&e.up[link.peer])):
                return False
            i += 1
        elif rx_arm(&link.rx):
            return False
        else:
            deactivate(e, i)
    return True


cdef inline void sleep_now(Engine *e) noexcept nogil:
    """Block until there is work, unless there is some at the last look."""
    cdef int timeout_ms = -1
    cdef Link *link
    if not arm_all(e, &timeout_ms):
        poll_events(e, 0)  # what there is may wait for room, and nothing else may wait for that
        return
    if e.pending.length:
        link = route(e, e.pending.port)
        if link != NULL:
            tx_arm(&link.tx)
            if tx_room(&link.tx, VN_RECORD_MAX) >= span_of(e.pending.length):
                poll_events(e, 0)
                return
        timeout_ms = 1
    listen_to_tap(e, e.pending.length == 0)
    count(e, VN_C_sleeps, 1)
    poll_events(e, timeout_ms)
