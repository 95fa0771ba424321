"""Counting: what was forwarded, what was dropped and why, and events for the control thread."""

from libc.stdint cimport uint16_t, uint32_t, uint64_t
from posix.unistd cimport write

from datapath.state.state cimport *
from abi.abi cimport *


cdef inline void count(Engine *e, int which, uint64_t n) noexcept nogil:
    vn_count(&e.counters.values[which], n)


cdef inline void count_peer(Engine *e, uint16_t port, int which, uint64_t n) noexcept nogil:
    vn_count(&e.counters.peers[port].values[which], n)


cdef inline void drop(Engine *e, uint16_t port, int reason) noexcept nogil:
    """Count one undelivered frame, for the peer that it concerns or (NO_PORT) for the daemon."""
    if port == NO_PORT:
        vn_count(&e.counters.drops[reason], 1)
    else:
        vn_count(&e.counters.peers[port].drops[reason], 1)


cdef inline void ring_eventfd(int fd) noexcept nogil:
    cdef uint64_t one = 1
    write(fd, &one, sizeof(one))


cdef inline void post(Engine *e, uint64_t *words, uint16_t port) noexcept nogil:
    """Put a port into one of the sets that the control thread takes."""
    vn_fetch_or(&words[port >> 6], <uint64_t>1 << (port & 63))
    ring_eventfd(e.events_fd)


cdef inline void want_link(Engine *e, uint16_t port) noexcept nogil:
    """Ask for a direct link, not more often than every want_ns."""
    if e.relays or e.now - e.asked[port] < e.want_ns:
        return
    e.asked[port] = e.now
    post(e, e.wanted, port)
