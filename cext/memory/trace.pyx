"""Trace rings: the control thread's hand on its daemon's, and what a reader finds in a copy of one."""

from operator import itemgetter

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset
from posix.unistd cimport getpid

from abi.abi cimport *
from datapath.state.trace cimport NUMBER_MOST, trace_next, trace_write

SIZE = sizeof(vn_trace_ring)
"""Bytes of a ring's file."""

TEXT_MOST = VN_TRACE_TEXT
"""Bytes of a record's text."""

CONTROL_RECORDS, LOOP_RECORDS = VN_TRACE_CONTROL, VN_TRACE_LOOP

KINDS = {vn_trace_names[kind].decode(): tuple(vn_trace_value_names[kind].decode().split())
         for kind in range(1, VN_TRACE_KIND_COUNT)}
"""{kind of record: names of its values}, in the order of their numbers, from 1."""

cdef dict NUMBERS = {name: number for number, name in enumerate(KINDS, 1)}


def begin(region):
    """Write the head of a new ring, or clear what is no ring of this version; else leave what earlier daemons wrote."""
    cdef vn_trace_ring *ring = <vn_trace_ring *><size_t>region.address
    if not is_ring(ring):
        memset(ring, 0, sizeof(vn_trace_ring))
        ring.head.version, ring.head.record_size = VN_TRACE_VERSION, sizeof(vn_trace_record)
        ring.head.magic = VN_TRACE_MAGIC


cdef bint is_ring(const vn_trace_ring *ring) noexcept:
    return (ring.head.magic == VN_TRACE_MAGIC and ring.head.version == VN_TRACE_VERSION
            and ring.head.record_size == sizeof(vn_trace_record))


cdef class Writer:
    """Writes the control thread's section of a mapped ring; the only one in this process that does."""

    cdef object region
    cdef vn_trace_ring *ring
    cdef uint64_t next

    def __cinit__(self, region):
        if region.size < sizeof(vn_trace_ring):
            raise ValueError("the region is too small")
        self.region = region
        self.ring = <vn_trace_ring *><size_t>region.address
        self.next = trace_next(self.ring.control, VN_TRACE_CONTROL)

    def put(self, str kind, values, str text, uint64_t monotonic_ns, uint64_t wall_ns):
        """A record of a kind in KINDS, with whole numbers as its values; a text that is too long loses its end."""
        cdef vn_trace_record record
        memset(&record, 0, sizeof(record))
        record.kind = NUMBERS[kind]
        record.number, record.pid = self.next, <uint32_t>getpid()
        record.monotonic_ns, record.wall_ns = monotonic_ns, wall_ns
        record.value_count = <uint8_t>min(len(values), VN_TRACE_VALUES)
        for i, value in enumerate(values[:VN_TRACE_VALUES]):
            record.values[<int>i] = <uint64_t>(value & 0xFFFF_FFFF_FFFF_FFFF)
        raw = text.encode(errors="replace")[:VN_TRACE_TEXT]
        record.length = <uint8_t>len(raw)
        memcpy(record.text, <const char *>raw, record.length)
        trace_write(&self.ring.control[self.next % VN_TRACE_CONTROL], &record)
        self.next += 1


def records(bytes first, bytes second):
    """What two copies of a ring hold, one taken after the other: the records that are whole, the oldest first.

    (thread, number, monotonic_ns, wall_ns, pid, kind, values, text) of each, as bytes and numbers that nobody has judged
    but for their bounds. ValueError if it is no ring of this version.
    """
    cdef const vn_trace_ring *one = <const vn_trace_ring *><const char *>first
    cdef const vn_trace_ring *other = <const vn_trace_ring *><const char *>second
    if len(first) != sizeof(vn_trace_ring) or len(second) != sizeof(vn_trace_ring) or not is_ring(one):
        raise ValueError("this is no trace ring of this version")
    found = section("control", one.control, other.control, VN_TRACE_CONTROL)
    found += section("loop", one.loop, other.loop, VN_TRACE_LOOP)
    return sorted(found, key=itemgetter(2, 1))


cdef list section(str thread, const vn_trace_record *one, const vn_trace_record *other, uint64_t count):
    cdef uint64_t slot
    cdef uint32_t length
    found = []
    for slot in range(count):
        if one[slot].number == 0 or one[slot].number > NUMBER_MOST or one[slot].number % count != slot:
            continue
        if memcmp(&one[slot], &other[slot], sizeof(vn_trace_record)):
            continue
        length = min(<uint32_t>one[slot].length, <uint32_t>VN_TRACE_TEXT)
        values = [one[slot].values[i] for i in range(min(<int>one[slot].value_count, <int>VN_TRACE_VALUES))]
        found.append((thread, one[slot].number, one[slot].monotonic_ns, one[slot].wall_ns, one[slot].pid,
                      one[slot].kind, tuple(values), (<const char *>one[slot].text)[:length]))
    return found
