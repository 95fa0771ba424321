"""The table of direct sockets: the fabric's addresses, written by the broker and mapped by every library."""

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy

cdef extern from "abi/barrier.h" nogil:
    void vn_fence()

cdef extern from "abi/socket_layout.h" nogil:
    enum: VN_SOCKETS_VERSION
    enum: VN_TABLE_MAGIC
    enum: VN_TABLE_ENTRIES
    enum: VN_TABLE_PORTS
    ctypedef struct vn_table_entry "__typeof__(((struct vn_table *)0)->entries[0])":
        pass
    # Its atomic fields are assigned in one piece, and in order.
    struct vn_table:
        uint32_t magic
        uint32_t version
        uint32_t sequence
        uint32_t count
        uint64_t epoch
        uint32_t *offers
        uint32_t *clients
        vn_table_entry *entries

from vnicd.native import memory

SIZE = sizeof(vn_table)


cdef class Writer:
    """The broker's hand on the table; `region` is what the others map. The exchange writes `offers` and `clients`."""

    cdef readonly object region
    cdef vn_table *t

    def __cinit__(self):
        self.region = memory.create(sizeof(vn_table), name="vnicd-table")
        self.t = <vn_table *><size_t>self.region.address
        self.t.magic, self.t.version, self.t.epoch = VN_TABLE_MAGIC, VN_SOCKETS_VERSION, 1

    def put(self, bytes entries):
        """Replace all entries, given as they lie in memory; readers see them whole. A new epoch begins."""
        cdef size_t size = len(entries), count = size // sizeof(vn_table_entry)
        if size % sizeof(vn_table_entry) or count > VN_TABLE_ENTRIES:
            raise ValueError("these are no entries of a table")
        self.t.sequence = self.t.sequence + 1
        vn_fence()
        self.t.count = <uint32_t>count
        memcpy(self.t.entries, <const char *>entries, size)
        vn_fence()
        self.t.sequence = self.t.sequence + 1
        self.bump()

    def bump(self):
        """Firewalls, routes or addresses may have changed."""
        self.t.epoch = self.t.epoch + 1

    @property
    def epoch(self):
        return self.t.epoch

    @property
    def sequence(self):
        return self.t.sequence

    def offers(self, int port):
        """How many offers the table says wait for a partition."""
        if not 0 <= port < VN_TABLE_PORTS:
            raise ValueError("out of the table's bounds")
        return self.t.offers[port]

    def clients(self, int port):
        """How many programs of a partition the table says are at the exchange."""
        if not 0 <= port < VN_TABLE_PORTS:
            raise ValueError("out of the table's bounds")
        return self.t.clients[port]
