"""The rounds of the loop: what is looked at in which order, and how long before it sleeps.

Theory of operation. A round looks at the TAP and at each active link, and moves a bounded batch from each, so
that none starves the others. While there is work the loop never blocks; every LOOK_NS it asks epoll for
doorbells of armed links. When work dries up it goes on looking for `poll_us` microseconds with sched_yield
between the looks, which lets the applications run, then it arms every link, looks once more, and sleeps in
epoll. How long it polls is learnt: sleeps that end soon lengthen it up to `poll_us`, long ones shorten it to
nothing. Each frame is published at once: holding it back for a batch costs more latency than the barrier does.

Beside programs that compute, polling does harm: whoever is to answer gets no CPU while the loop polls, however soon he
would, and the loop uses up what a sleeper keeps for when it is woken, with which it preempts such a program. So polling
has to pay: its time is a debt, and work that it finds pays POLL_WORTH of that. With too much of a debt the loop sleeps
as soon as there is no work, does not yield, and tries again later. That is for question and answer; with more to do,
what a loop finds after a while is so much more, and polling pays anyhow. One loop alone may find that it does not pay as long
as its peers sleep. So all rest until a round number of the clock, and try at the same time.

A frame whose ring is full is kept and the TAP is not read for `backpressure_ms`, which is what slows a TCP sender down
instead of losing its frames; then the frame is dropped, and further ones are dropped at once until the receiver
moves. So one stalled receiver delays the others once, by backpressure_ms.
"""

from libc.stdint cimport uint64_t

from datapath.loop.commands cimport execute_command
from datapath.state.counters cimport *
from datapath.state.state cimport *
from datapath.loop.deliver cimport drain_link
from datapath.io.uplink_rx cimport drain_rx_queue
from abi.abi cimport *
from datapath.link.link cimport release, show
from datapath.frame.mac_table cimport read_directory
from datapath.loop.cpu_placement cimport BUSY_MEMORY, choose_cpu, prepare_thread
from datapath.state.events cimport *
from datapath.state.trace cimport trace
from datapath.io.tap cimport retry_pending, tap_read
from datapath.loop.sleep cimport poll_events, sleep_now

cdef extern from "<sched.h>" nogil:
    int sched_yield()

cdef enum:
    LOOK_NS = 50_000             # between two looks at the doorbells of armed links while there is work
    CROWD = 4                    # frames in one round that mean more than question and answer
    SHORT_GAP = 250_000          # ns; work that comes this soon is worth polling for
    POLL_LEAST = 5_000           # ns; polling for less than a wake-up takes is no use
    POLL_WORTH = 30_000          # ns; what it saves to find work by polling, at least on an idle machine
    DEBT_MOST = 4_000_000        # ns
    REST_FIRST = 26              # bits of the clock in ns: up to 67 ms
    REST_MOST = 29               # up to 0.5 s
    LAST_FRAMES = 1024           # of the TAP that are still sent when the loop is to end


cdef inline int run_round(Engine *e) noexcept nogil:
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
    if e.uplink != NULL:
        for i in range(e.uplink.rx_queue_count):
            if e.uplink.rx_queues[i].active:
                n += drain_rx_queue(e, &e.uplink.rx_queues[i], BATCH)
    for i in range(e.active_count):
        n += drain_link(e, e.links[e.active[i]], BATCH)
        show(e.links[e.active[i]])
    if e.shaped:
        for i in range(e.linked_count):
            release(e, e.links[e.linked[i]])
    return n


cdef inline void pay_for_polling(Engine *e, uint64_t polled, bint found) noexcept nogil:
    """It has polled for so many ns, and found work by it or not."""
    if e.now - e.busy_at < BUSY_MEMORY:
        e.poll_debt, e.poll_rests_until = 0, 0
        return
    e.poll_debt += <int64_t>polled - (POLL_WORTH if found else 0)
    if e.poll_debt <= 0:
        e.poll_debt, e.poll_rest = 0, REST_FIRST
    elif e.poll_debt > DEBT_MOST:
        e.poll_rests_until = ((e.now >> e.poll_rest) + 1) << e.poll_rest
        e.poll_ns, e.poll_debt, e.poll_rest = 0, 0, min(e.poll_rest + 1, <int>REST_MOST)


cdef inline void tune_polling(Engine *e, uint64_t gap) noexcept nogil:
    """Learn from a sleep: `gap` is the time from the last work to the wake-up, in ns."""
    if e.poll_rests_until:
        if e.now >= e.poll_rests_until:
            e.poll_rests_until, e.poll_ns = 0, e.poll_most
    elif gap >= SHORT_GAP:
        e.poll_ns //= 2
    else:
        e.poll_ns = min(e.poll_most, max(2 * e.poll_ns, <uint64_t>POLL_LEAST))


cdef inline void send_last(Engine *e) noexcept nogil:
    """What programs have sent before the end, above all the resets of their connections, still goes out.

    As much as finds room at once, and a bounded number: a program may go on sending.
    """
    cdef int i = 0
    e.now = clock_ns()
    read_directory(e)  # it may have had no round yet
    while e.tap >= 0 and e.pending.length == 0 and i < LAST_FRAMES and tap_read(e):
        i += 1


cdef inline void run_loop(Engine *e) noexcept nogil:
    cdef uint64_t last_work = clock_ns(), looked_at = 0
    cdef int moved
    cdef bint polls = False
    e.poll_rest = REST_FIRST
    prepare_thread(e)
    trace(e, VN_TRACE_loop_started)
    while not e.stop:
        e.now = clock_ns()
        if vn_load_acquire(&e.command_seq) != e.done_seq:
            execute_command(e)
            last_work = e.now
            continue
        read_directory(e)
        moved = run_round(e)
        count(e, VN_C_rounds, 1)
        if moved:
            if polls:
                pay_for_polling(e, e.now - last_work, True)
            last_work, polls = e.now, False
            if moved >= CROWD:
                e.busy_at, e.poll_rests_until = e.now, 0
            if e.poll_rests_until == 0:
                sched_yield()  # a program may have been woken by this frame, on this very CPU
        elif e.now - last_work >= e.poll_ns:
            if polls:
                pay_for_polling(e, e.now - last_work, False)
            sleep_now(e)
            e.now = clock_ns()
            tune_polling(e, e.now - last_work)
            last_work, polls = e.now, False
            continue
        else:
            polls = True
            choose_cpu(e)
            sched_yield()
        if e.now - looked_at >= LOOK_NS:
            looked_at = e.now
            poll_events(e, 0)
    send_last(e)
    trace(e, VN_TRACE_loop_ended)
