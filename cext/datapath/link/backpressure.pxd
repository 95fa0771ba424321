"""Back-pressure: what finds no room waits for it for a bounded time, and is then given up.

Theory of operation. Whoever finds no room - the TAP's frame, a record that is to be relayed or sent to the NIC, an rx
queue - keeps the time at which it gives up, 0 while it does not wait. It asks holds() each time that it finds no room,
and says end_hold() when it has found room or gives up. So one full ring delays the others once, by backpressure_ns.
Who has waited in vain for a link's ring, or too often, leaves its receiver *stalled*: then nobody waits for it any more,
until it has freed half of the ring.
"""

from libc.stdint cimport uint64_t

from datapath.state.counters cimport *
from datapath.state.state cimport *
from abi.abi cimport *
from datapath.state.ring cimport tx_free
from datapath.state.trace cimport trace

cdef enum:
    WAITS_PERIOD_NS = 100_000_000
    WAITS_MOST_NS = 40_000_000   # in a period, for one link: a slow reader takes no more of the time of others
    STALL_TRACE_NS = 1_000_000_000  # between two records that the same link is stalled


cdef inline bint may_wait(const Link *to) noexcept nogil:
    """Whether what finds no room in this link's ring may wait for it, instead of being dropped."""
    return not to.receiver_stalled and not to.gone


cdef inline bint holds(Engine *e, uint64_t *until, bint may) noexcept nogil:
    """Whether what has found no room waits on: from the first time for backpressure_ns, and only as long as it may."""
    if until[0] == 0 and may:
        count(e, VN_C_holds, 1)
        until[0] = e.now + e.backpressure_ns
    return may and e.now < until[0]


cdef inline void count_wait(Engine *e, Link *to, uint64_t since, bint others, bint in_vain) noexcept nogil:
    """What waited for room in this link's ring since then has it now, or waits no longer.

    Time counts where others have waited with it. A sender that has nothing for others may wait as long as it takes:
    that is what slows TCP down to the receiver's rate without a loss.
    """
    if e.now - to.waits_since > WAITS_PERIOD_NS:
        to.waits_since, to.waited = e.now, 0
    if others:
        to.waited += e.now - since
    if (in_vain or to.waited >= WAITS_MOST_NS) and not to.receiver_stalled:
        to.receiver_stalled = True
        if e.now - to.stall_traced_at >= STALL_TRACE_NS:
            to.stall_traced_at, to.stall_is_traced = e.now, True
            trace(e, VN_TRACE_stalled, to.id, to.peer)


cdef inline void end_hold(Engine *e, uint64_t *until, Link *to, bint others, bint in_vain) noexcept nogil:
    """It waits no longer, if it did; `to` is the link for whose ring it did, NULL if for something else."""
    if until[0] and to != NULL:
        count_wait(e, to, until[0] - e.backpressure_ns, others, in_vain)
    until[0] = 0


cdef inline void note_room(Engine *e, Link *to) noexcept nogil:
    """A reader that moves by a record now and then stays stalled; one that reads on frees half of the ring."""
    if to.receiver_stalled and tx_free(&to.tx) >= VN_RING_SIZE // 2:
        to.receiver_stalled = False
        if to.stall_is_traced:
            to.stall_is_traced = False
            trace(e, VN_TRACE_moving, to.id, to.peer)
