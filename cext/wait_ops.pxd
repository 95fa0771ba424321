"""Sleeping and waking: what a loop waits for, and when it may."""

from libc.stdint cimport uint64_t
from posix.unistd cimport read

from count_ops cimport *
from engine cimport *
from layout cimport *
from link_ops cimport *
from poll_ops cimport *
from ring_ops cimport *
from tap_ops cimport route

cdef enum:
    EVENTS = 64
    HELD_LOOK_MS = 20            # how often a sleeping loop looks at a held link


cdef inline void gather(Engine *e, int timeout_ms) noexcept nogil:
    """Wait for events; links whose doorbell rang become active."""
    cdef epoll_event events[EVENTS]
    cdef int n = epoll_wait(e.poll_fd, events, EVENTS, timeout_ms), i
    cdef uint64_t token, counter
    cdef Link *link
    for i in range(n):
        token = events[i].data.u64
        if token == TOKEN_COMMAND:
            read(e.command_bell, &counter, sizeof(counter))
        elif token < VN_MAX_PORTS:
            link = e.links[token]
            if link != NULL:
                answer_bell(e, link)
                if link.gone:
                    unwatch(e, link.bell)


cdef inline bint arm_all(Engine *e, int *timeout_ms) noexcept nogil:
    """Arm every active link; False when one has work, so that the loop must go on."""
    cdef int i = 0
    cdef Link *link
    while i < e.active_count:
        link = e.links[e.active[i]]
        if link.held:
            timeout_ms[0] = HELD_LOOK_MS
            i += 1
        elif link.gone:
            deactivate(e, i)
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
        return
    if e.pending.length:
        link = route(e, e.pending.port)
        if link != NULL:
            tx_arm(&link.tx)
            if tx_room(&link.tx, VN_RECORD_MAX) >= span_of(e.pending.length):
                return
        timeout_ms = 1
    listen_to_tap(e, e.pending.length == 0)
    count(e, VN_C_sleeps, 1)
    gather(e, timeout_ms)
