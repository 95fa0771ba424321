"""The datapath loop of a daemon: one thread that moves frames between the TAP and the links, without the GIL.

Theory of operation. A round looks at the TAP and at each active link, and moves a bounded batch from each, so
that none starves the others. While there is work the loop never blocks; every POLL_ROUNDS rounds it asks epoll
for doorbells of armed links. When work dries up it goes on looking for `poll_us` microseconds with sched_yield
between the looks, which lets the applications run, then it arms every link, looks once more, and sleeps in
epoll. How long it polls is learnt: sleeps that end soon lengthen it up to `poll_us`, long ones shorten it to
nothing. Each frame is published at once: holding it back for a batch costs more latency than the barrier does.

A frame whose ring is full is kept and the TAP is not read for `hold_ms`, which is what slows a TCP sender down
instead of losing its frames; then the frame is dropped, and further ones are dropped at once until the receiver
moves. So one stalled receiver delays the others once, by hold_ms.

The control thread never enters this. It hands in finished links through one command slot and waits until the
loop has taken the command; the loop hands out sets of ports (wanted, gone) and rings an eventfd.
"""

from libc.stdint cimport uint16_t, uint64_t
from libc.stdlib cimport calloc, free
from posix.unistd cimport close, read

from command_ops cimport command_done, obey
from count_ops cimport *
from engine cimport *
from forward_ops cimport pull
from layout cimport *
from link_ops cimport *
from mac_ops cimport read_directory
from placement_ops cimport choose_cpu, prepare_thread
from ring_ops cimport *
from tap_ops cimport retry_pending, tap_read
from poll_ops cimport *
from wait_ops cimport gather, sleep_now

cdef extern from "<sched.h>" nogil:
    int sched_yield()

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
    POLL_ROUNDS = 64             # rounds between two looks at the doorbells of armed links
    CROWD = 4                    # frames in one round that mean more than question and answer
    SHORT_GAP = 250_000          # ns; work that comes this soon is worth polling for
    POLL_LEAST = 5_000           # ns; polling for less than a wake-up takes is no use


cdef int work(Engine *e) noexcept nogil:
    """One round; the number of frames moved."""
    cdef int n = 0, i
    if e.pending.length:
        retry_pending(e)
        n += e.pending.length == 0
    if e.tap >= 0:
        i = 0
        while i < BATCH and e.pending.length == 0 and tap_read(e):
            i += 1
        n += i
    for i in range(e.active_count):
        n += pull(e, e.links[e.active[i]], BATCH)
    return n


cdef void tune_polling(Engine *e, uint64_t gap) noexcept nogil:
    """Learn from a sleep: `gap` is the time from the last work to the wake-up, in ns."""
    if gap < SHORT_GAP:
        e.poll_ns = min(e.poll_most, max(2 * e.poll_ns, <uint64_t>POLL_LEAST))
    else:
        e.poll_ns //= 2


cdef void run_loop(Engine *e) noexcept nogil:
    cdef uint64_t last_work = clock_ns(), rounds = 0
    cdef int moved
    prepare_thread(e)
    while not e.stop:
        e.now = clock_ns()
        if vn_load_acquire(&e.command_seq) != e.done_seq:
            obey(e)
            last_work = e.now
            continue
        read_directory(e)
        moved = work(e)
        rounds += 1
        count(e, VN_C_rounds, 1)
        if moved:
            last_work = e.now
            if moved >= CROWD:
                e.busy_at = e.now
            sched_yield()  # a program may have been woken by this frame, on this very CPU
        elif e.now - last_work >= e.poll_ns:
            sleep_now(e)
            e.now = clock_ns()
            tune_polling(e, e.now - last_work)
            last_work = e.now
            continue
        else:
            choose_cpu(e)
            sched_yield()
        if rounds % POLL_ROUNDS == 0:
            gather(e, 0)


cdef class Loop:
    """The loop of one daemon and the control thread's hand on it.

    `port` is the daemon's own port, `counters` a writable Region for its counters, `relays` True in the hosting
    daemon. `poll_us` is the polling time in microseconds, `hold_ms` the longest wait for a full ring. Not
    thread-safe but for run(), which another thread is to call.
    """

    cdef Engine *e
    cdef object counters, directory
    cdef bint running
    cdef dict regions            # port -> the two Regions of its link, kept mapped while the loop uses them

    def __cinit__(self, int port, counters, bint relays=False, int poll_us=100, int hold_ms=10, int want_ms=500):
        self.e = <Engine *>calloc(1, sizeof(Engine))
        if self.e == NULL:
            raise MemoryError
        self.e.poll_fd = self.e.command_bell = self.e.done_bell = self.e.event_bell = self.e.tap = -1
        self.e.scratch = <char *>calloc(1, VN_RECORD_MAX)
        self.e.poll_fd = epoll_create1(EPOLL_CLOEXEC)
        self.e.command_bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
        self.e.done_bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
        self.e.event_bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
        if self.e.scratch == NULL or self.e.event_bell < 0 or self.e.poll_fd < 0 or self.e.command_bell < 0:
            raise OSError("no descriptors or memory for the loop")
        if not 0 <= port < VN_MAX_PORTS:
            raise ValueError(f"port {port} is out of range")
        self.regions = {}
        self.counters = counters
        self.e.counters = <vn_counters *><size_t>counters.address
        self.e.port = <uint16_t>port
        self.e.relays = relays
        self.e.poll_ns = self.e.poll_most = <uint64_t>poll_us * 1000
        self.e.hold_ns = <uint64_t>hold_ms * 1_000_000
        self.e.want_ns = <uint64_t>want_ms * 1_000_000
        watch(self.e, self.e.command_bell, TOKEN_COMMAND)

    def __dealloc__(self):
        cdef int port
        if self.e == NULL:
            return
        for port in range(VN_MAX_PORTS):
            if self.e.links[port] != NULL:
                close(self.e.links[port].bell)
                free(self.e.links[port])
        for fd in (self.e.poll_fd, self.e.command_bell, self.e.done_bell, self.e.event_bell):
            if fd >= 0:
                close(fd)
        free(self.e.scratch)
        free(self.e)

    @property
    def event_fd(self):
        """Readable when take_events() has something to tell."""
        return self.e.event_bell

    def run(self):
        """Move frames until stop(); for a thread of its own."""
        self.running = True
        with nogil:
            run_loop(self.e)
        self.running = False

    def take_events(self):
        """(ports that want a direct link, {port: fault name or "dead"} of links to drop, whether the TAP is gone)."""
        cdef uint64_t counter
        read(self.e.event_bell, &counter, sizeof(counter))
        wanted = take_ports(self.e.wanted)
        gone = {port: self.fault(port) for port in take_ports(self.e.gone)}
        return wanted, gone, vn_exchange(&self.e.tap_gone, 0) != 0

    def fault(self, int port):
        """Why a link is to be dropped: a fault of VN_FAULTS, or "dead"."""
        cdef Link *link = self.e.links[port]
        if link == NULL:
            return "dead"
        fault = link.rx.fault or link.tx.fault
        return vn_fault_names[fault].decode() if fault else "dead"

    def idle_ns(self):
        """{port: nanoseconds since the last frame} of the attached links."""
        cdef uint64_t now = clock_ns()
        cdef int port
        return {port: max(0, <long long>(now - self.e.links[port].used)) for port in self.regions}

    # ---------------------------------------------------------------------------------------- commands

    def set_tap(self, int fd):
        """Serve this TAP (non-blocking, IFF_VNET_HDR, header of 10 bytes); -1 for none. The fd stays the caller's."""
        self._command(COMMAND_TAP, fd=fd)

    def set_directory(self, region):
        """Read MACs and states from this mapped directory."""
        self._command(COMMAND_DIRECTORY, directory=<size_t>region.address)
        self.directory = region

    def attach(self, int peer, uint64_t link_id, own, theirs, int bell):
        """Take over the link to `peer`: read from it (once the mark came by relay), do not write into it yet.

        `own` and `theirs` are the two Regions, mapped and checked for size and seals; `bell` becomes the
        loop's. ValueError when the peer's identity is not that of this link: then the bell stays the caller's.
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
        link.peer, link.id, link.bell = <uint16_t>peer, link_id, bell
        link.used = clock_ns()
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
            self._command(COMMAND_DETACH, port=peer)
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
        return self.e.links[peer] != NULL and self.e.links[peer].open

    def _command(self, int kind, int port=0, size_t link=0, size_t directory=0, int fd=-1):
        """Put a command into the slot and wait until the loop has obeyed; its result."""
        cdef uint64_t counter
        cdef pollfd waiting
        self.e.command.kind = kind
        self.e.command.port = <uint16_t>port
        self.e.command.link = <Link *>link
        self.e.command.directory = <const vn_directory *>directory
        self.e.command.fd = fd
        vn_store_release(&self.e.command_seq, self.e.command_seq + 1)
        ring_eventfd(self.e.command_bell)
        if not self.running:  # we hold the GIL, so run() can't begin before this is done
            obey(self.e)
        waiting.fd, waiting.events = self.e.done_bell, POLLIN
        while not command_done(self.e):
            with nogil:
                poll(&waiting, 1, -1)
            read(self.e.done_bell, &counter, sizeof(counter))
        return self.e.command.fd


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
