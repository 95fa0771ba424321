"""The trace: records of rare events in the daemon's ring, without a system call or a lock.

Frames leave no record, nor does a sleep: the ring would hold a fraction of a second. What a peer can bring about again
and again is recorded once in a while.
"""

from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from datapath.state.state cimport *
from abi.abi cimport *
from datapath.state.events cimport clock_gettime, clock_ns, timespec

cdef extern from "<time.h>" nogil:
    int CLOCK_REALTIME

cdef enum:
    NUMBER_MOST = 1 << 30        # of a record; a ring that has more was written by somebody else, or for 30 years


cdef inline uint64_t wall_ns() noexcept nogil:
    """Since 1970."""
    cdef timespec t
    clock_gettime(CLOCK_REALTIME, &t)
    return <uint64_t>t.tv_sec * 1_000_000_000 + <uint64_t>t.tv_nsec


cdef inline uint64_t trace_next(vn_trace_record *slots, uint64_t count) noexcept nogil:
    """The number of the next record of a section, behind those that an earlier daemon has left.

    A section that no daemon of ours can have written is cleared. A reader believes numbers twice as high, so one that was
    written by somebody hostile leaves its successor numbers enough.
    """
    cdef uint64_t slot, number, last = 0
    for slot in range(count):
        number = vn_load_relaxed(&slots[slot].number)
        if number and (number % count != slot or number > NUMBER_MOST // 2):
            memset(slots, 0, count * sizeof(vn_trace_record))
            return 1
        if number > last:
            last = number
    return last + 1


cdef inline void trace_write(vn_trace_record *slot, const vn_trace_record *record) noexcept nogil:
    """Put a record into its slot; trace_layout.h has the order for readers."""
    vn_store_relaxed(&slot.number, 0)
    vn_fence()
    memcpy(<char *>slot + sizeof(uint64_t), <const char *>record + sizeof(uint64_t),
           sizeof(vn_trace_record) - sizeof(uint64_t))
    vn_store_release(&slot.number, record.number)


cdef inline void trace(Engine *e, int kind, uint64_t a=0, uint64_t b=0, uint64_t c=0) noexcept nogil:
    """Record an event of the loop."""
    cdef vn_trace_record record
    if e.trace == NULL:
        return
    memset(&record, 0, sizeof(record))
    record.number, record.kind, record.pid = e.trace_next, <uint16_t>kind, e.pid
    record.monotonic_ns, record.wall_ns = clock_ns(), wall_ns()
    record.value_count = 3
    record.values[0], record.values[1], record.values[2] = a, b, c
    trace_write(&e.trace[e.trace_next % VN_TRACE_LOOP], &record)
    e.trace_next += 1
