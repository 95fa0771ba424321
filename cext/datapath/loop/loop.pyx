"""The datapath loop of a daemon: one thread that moves frames between the TAP and the links, without the GIL.

What the loop does is in round.pxd. The control thread never enters it: it hands in finished links through one
command slot and waits until the loop has taken the command; the loop hands out sets of ports (wanted, gone) and
rings an eventfd.
"""

import os
import threading

from vnicd.native import memory

from libc.stdint cimport uint16_t, uint64_t
from libc.stdlib cimport calloc, free
from posix.unistd cimport close, getpid, read

from datapath.loop.commands cimport command_done, execute_command
from datapath.state.counters cimport *
from datapath.state.state cimport *
from abi.abi cimport *
from datapath.link.link cimport *
from datapath.frame.mac_table cimport mac_at
from datapath.state.ring cimport *
from datapath.state.events cimport *
from datapath.state.trace cimport trace_next
from datapath.link.shaper cimport queue_limit
from datapath.loop.round cimport run_loop

cdef extern from "<sys/eventfd.h>" nogil:
    int eventfd(unsigned int start, int flags)
    int EFD_CLOEXEC
    int EFD_NONBLOCK

cdef extern from "<sys/epoll.h>" nogil:
    int epoll_create1(int flags)
    int EPOLL_CLOEXEC

cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events
    int poll(pollfd *fds, unsigned long n, int timeout_ms)
    int POLLIN

cdef enum:
    ADDRESSES = 16384            # slots for those of all ports, at most 256 * 17


def queue_ms(uint64_t rate):
    """Milliseconds that what a port with this rate limit (bytes per second, 0 for none) has sent may wait for it."""
    cdef Shaper limit
    limit.rate = rate
    return 1000 * queue_limit(&limit) // rate if rate else 0


cdef class Loop:
    """The loop of one daemon and the control thread's hand on it.

    `port` is the daemon's own port, `counters` a writable Region for its counters, `relays` True in the hosting
    daemon. `poll_us` is the polling time in microseconds, `backpressure_ms` the longest wait for a full ring. `ring` is the
    daemon's mapped trace ring, if it has one. Not thread-safe but for run(), which another thread is to call.
    """

    cdef Engine *e
    cdef object counters, directory, ring
    cdef bint running
    cdef dict regions            # port -> the two Regions of its link, kept mapped while the loop uses them
    cdef dict tails              # (port, link id) -> where records were left waiting at the last is_moving()
    cdef object rounds           # of the loop, at that time

    def __cinit__(self, int port, counters, bint relays=False, int poll_us=100, int backpressure_ms=10, int want_ms=500,
                  ring=None):
        self.e = <Engine *>calloc(1, sizeof(Engine))
        if self.e == NULL:
            raise MemoryError
        self.e.poll_fd = self.e.command_fd = self.e.done_fd = self.e.events_fd = self.e.tap = -1
        self.e.scratch = <char *>calloc(1, VN_RECORD_MAX)
        self.e.inward = <char *>calloc(1, INWARD_MAX if relays else 1)
        self.e.segment = <char *>calloc(1, VN_RECORD_MAX if relays else 1)
        self.e.addresses.most = ADDRESSES
        self.e.addresses.slots = <AddressSlot *>calloc(ADDRESSES, sizeof(AddressSlot))
        self.e.addresses.spare = <AddressSlot *>calloc(ADDRESSES, sizeof(AddressSlot))
        if self.e.inward == NULL or self.e.segment == NULL:
            raise MemoryError
        if self.e.addresses.slots == NULL or self.e.addresses.spare == NULL:
            raise MemoryError
        self.e.poll_fd = epoll_create1(EPOLL_CLOEXEC)
        self.e.command_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
        self.e.done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
        self.e.events_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
        if self.e.scratch == NULL or self.e.events_fd < 0 or self.e.poll_fd < 0 or self.e.command_fd < 0:
            raise OSError("no descriptors or memory for the loop")
        if not 0 <= port < VN_MAX_PORTS:
            raise ValueError(f"port {port} is out of range")
        self.regions, self.tails, self.rounds = {}, {}, -1
        self.counters = counters
        self.e.counters = <vn_counters *><size_t>counters.address
        self.ring = ring
        if ring is not None:
            self.e.trace = (<vn_trace_ring *><size_t>ring.address).loop
            self.e.trace_next = trace_next(self.e.trace, VN_TRACE_LOOP)
        self.e.pid = <uint32_t>getpid()
        self.e.port = <uint16_t>port
        self.e.relays = relays
        self.e.poll_ns = self.e.poll_most = <uint64_t>poll_us * 1000
        self.e.backpressure_ns = <uint64_t>backpressure_ms * 1_000_000
        self.e.want_ns = <uint64_t>want_ms * 1_000_000
        watch(self.e, self.e.command_fd, TOKEN_COMMAND)

    def __dealloc__(self):
        cdef int port
        if self.e == NULL:
            return
        for port in range(VN_MAX_PORTS):
            if self.e.links[port] != NULL:
                close(self.e.links[port].doorbell)
                free(self.e.links[port])
        for fd in (self.e.poll_fd, self.e.command_fd, self.e.done_fd, self.e.events_fd):
            if fd >= 0:
                close(fd)
        free(self.e.scratch)
        free(self.e.inward)
        free(self.e.segment)
        free(self.e.addresses.slots)
        free(self.e.addresses.spare)
        free(self.e.uplink)
        free(self.e)

    @property
    def event_fd(self):
        """Readable when take_events() has something to report."""
        return self.e.events_fd

    def run(self):
        """Move frames until stop(); for a thread of its own."""
        self.running = True
        with nogil:
            run_loop(self.e)
        self.running = False

    def take_events(self):
        """(ports that want a direct link, {port: fault name or "dead"} of links to drop, whether the TAP is gone)."""
        cdef uint64_t counter
        read(self.e.events_fd, &counter, sizeof(counter))
        wanted = take_ports(self.e.wanted)
        gone = {port: self.fault(port) for port in take_ports(self.e.gone)}
        return wanted, gone, vn_exchange(&self.e.tap_gone, 0) != 0

    def take_fast(self):
        """Ports whose link is on small pages and moves so much that it is worth huge ones; each is reported once."""
        return [port for port in take_ports(self.e.fast) if port in self.regions]

    def fault(self, int port):
        """Why a link is to be dropped: a fault of VN_FAULTS, or "dead"."""
        cdef Link *link = self.e.links[port]
        if link == NULL:
            return "dead"
        fault = vn_load_relaxed(&link.shown.state) >> SHOWN_FAULT
        return vn_fault_names[fault].decode() if fault else "dead"

    def idle_ns(self):
        """{port: nanoseconds since the last frame} of the attached links."""
        cdef uint64_t now = clock_ns()
        cdef int port
        return {port: max(0, <long long>(now - vn_load_relaxed(&self.e.links[port].shown.used))) for port in self.regions}

    def is_moving(self):
        """False when records or frames wait and none was taken since the last call: the loop hangs.

        To be called from time to time, seconds apart. A link that is held back, or waits for its rate limit, does
        not count; nor does one that has just come.
        """
        cdef Link *link
        cdef pollfd waiting
        cdef uint64_t rounds = vn_load_relaxed(&self.e.counters.values[VN_C_rounds])
        stuck = False
        tails = {}
        for port in self.regions:
            link = self.e.links[<int>port]
            if link == NULL or vn_load_relaxed(&link.shown.state) & SHOWN_WAITS:
                continue
            tail = vn_load_relaxed(&link.rx.own.tail)
            if vn_load_acquire(&link.rx.peer.head) != tail:
                tails[port, link.id] = tail
                stuck = stuck or self.tails.get((port, link.id)) == tail
        waiting.fd, waiting.events = <int>vn_load_relaxed(&self.e.shown_tap) - 1, POLLIN
        if waiting.fd >= 0 and rounds == self.rounds and poll(&waiting, 1, 0) == 1:
            stuck = True
        self.tails, self.rounds = tails, rounds
        return not stuck

    # ---------------------------------------------------------------------------------------- commands

    def set_tap(self, int fd):
        """Serve this TAP (non-blocking, IFF_VNET_HDR, header of 10 bytes); -1 for none. The fd stays the caller's."""
        self._command(COMMAND_TAP, fd=fd)

    def set_uplink(self, int transmit, rx_queues, str mac, int mtu, bint shared):
        """Serve a NIC: a packet socket to send by and some to read from, non-blocking, with a header of 10 bytes.

        `mac` and `mtu` are the NIC's; with `shared` all partitions have its MAC on the wire. The sockets stay
        the caller's, who closes them after the next call of this or of clear_uplink().
        """
        if len(rx_queues) > MAX_RX_QUEUES:
            raise ValueError(f"at most {MAX_RX_QUEUES} rx queues")
        cdef Uplink *uplink = <Uplink *>calloc(1, sizeof(Uplink))
        if uplink == NULL:
            raise MemoryError
        packed = bytes.fromhex(mac.replace(":", ""))
        uplink.transmit, uplink.mtu, uplink.shared = transmit, mtu, shared
        uplink.mac = mac_at(<const char *>packed)
        uplink.rx_queue_count = len(rx_queues)
        for i, fd in enumerate(rx_queues):
            uplink.rx_queues[<int>i].fd, uplink.rx_queues[<int>i].last = fd, NO_PORT
        self._command(COMMAND_UPLINK, uplink=<size_t>uplink)

    def clear_uplink(self):
        """Have no uplink; no error when there is none."""
        self._command(COMMAND_UPLINK)

    def set_rates(self, int port, uint64_t rate, uint64_t rate_in):
        """Bytes per second from a port to the uplink, and from the uplink to the port; 0 for no limit."""
        if not 0 < port < VN_MAX_PORTS:
            raise ValueError(f"port {port} is out of range")
        self._command(COMMAND_RATE, port=port, rate=rate, rate_in=rate_in)

    def set_directory(self, region):
        """Read MACs and states from this mapped directory."""
        self._command(COMMAND_DIRECTORY, directory=<size_t>region.address)
        self.directory = region

    def attach(self, int peer, uint64_t link_id, own, theirs, int doorbell):
        """Take over the link to `peer`: read from it (once the mark came by relay), do not write into it yet.

        `own` and `theirs` are the two Regions, mapped and checked for size and seals; `doorbell` becomes the
        loop's. ValueError when the peer's identity is not that of this link: then the doorbell stays the caller's.
        """
        cdef const vn_link_region *peer_region = <const vn_link_region *><size_t>theirs.address
        cdef vn_link_region *own_region = <vn_link_region *><size_t>own.address
        if peer in self.regions or not 0 <= peer < VN_MAX_PORTS or peer == self.e.port:
            raise ValueError(f"a link to port {peer} can't be attached")
        if theirs.size < VN_LINK_REGION or own.size < VN_LINK_REGION:
            raise ValueError("bad_identity: a region is too small")
        if not identity_fits(peer_region, <uint16_t>peer, self.e.port, link_id):
            raise ValueError("bad_identity: the peer's region is not of this link")
        cdef Link *link = <Link *>calloc(1, sizeof(Link))
        if link == NULL:
            raise MemoryError
        link.peer, link.id, link.doorbell = <uint16_t>peer, link_id, doorbell
        link.doorbell_is_safe = doorbell_refuses_descriptors(doorbell)
        link.shown.used = clock_ns()
        link.small = peer != 0 and not self.e.relays and own.page_size < memory.HUGE_PAGE
        tx_begin(&link.tx, own_region, peer_region)
        rx_begin(&link.rx, own_region, peer_region)
        self.regions[peer] = (own, theirs)
        self._command(COMMAND_ATTACH, port=peer, link=<size_t>link)

    def open(self, int peer):
        """Write into the link from now on; False when the relay has no room for the mark yet."""
        return self._command(COMMAND_OPEN, port=peer) == 0

    def close(self, int peer):
        """Write nothing more into the link; it is still read."""
        self._command(COMMAND_CLOSE, port=peer)

    def detach(self, int peer):
        """Deliver what waits in the link, then forget it; no error when there is none."""
        if peer in self.regions:
            close_soon(self._command(COMMAND_DETACH, port=peer))
            own, theirs = self.regions.pop(peer)
            own.close()
            theirs.close()

    def stop(self):
        """Make run() return."""
        self._command(COMMAND_STOP)

    def peers(self):
        """Ports that have a link attached."""
        return sorted(self.regions)

    def link_id(self, int peer):
        return self.e.links[peer].id if self.e.links[peer] != NULL else 0

    def is_open(self, int peer):
        return self.e.links[peer] != NULL and vn_load_relaxed(&self.e.links[peer].shown.state) & SHOWN_OPEN != 0

    def _command(self, int kind, int port=0, size_t link=0, size_t directory=0, int fd=-1, size_t uplink=0, uint64_t rate=0,
                 uint64_t rate_in=0):
        """Put a command into the slot and wait until the loop has obeyed; its result."""
        cdef uint64_t counter
        cdef pollfd waiting
        self.e.command.kind = kind
        self.e.command.port = <uint16_t>port
        self.e.command.link = <Link *>link
        self.e.command.directory = <const vn_directory *>directory
        self.e.command.uplink = <Uplink *>uplink
        self.e.command.rate, self.e.command.rate_in = rate, rate_in
        self.e.command.fd = fd
        vn_store_release(&self.e.command_seq, self.e.command_seq + 1)
        ring_eventfd(self.e.command_fd)
        if not self.running:  # we hold the GIL, so run() can't begin before this is done
            execute_command(self.e)
        waiting.fd, waiting.events = self.e.done_fd, POLLIN
        while not command_done(self.e):
            with nogil:
                poll(&waiting, 1, -1)
            read(self.e.done_fd, &counter, sizeof(counter))
        if kind == COMMAND_UPLINK:
            free(self.e.command.uplink)
        return self.e.command.fd


cdef void close_soon(int fd):
    """Close a doorbell, by a thread that may wait if there can be descriptors in it; -1 is none."""
    if fd >= 0 and doorbell_refuses_descriptors(fd):
        close(fd)
    elif fd >= 0:
        threading.Thread(target=os.close, args=(fd,), name="doorbell", daemon=True).start()


cdef list take_ports(uint64_t *words):
    """Empty a set of ports and list it."""
    cdef int word, bit
    cdef uint64_t bits
    ports = []
    for word in range(BITMAP_WORDS):
        bits = vn_exchange(&words[word], 0)
        for bit in range(64):
            if bits >> bit & 1:
                ports.append(word * 64 + bit)
    return ports
