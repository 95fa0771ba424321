"""The two ends of a ring for Python: what the tests drive, and what a hostile peer is made of."""

from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from abi.abi cimport *
from datapath.state.ring cimport *

FRAME, MARK = VN_FRAME, VN_MARK
RING_SIZE, RING_OFFSET, RECORD_MAX = VN_RING_SIZE, VN_RING_OFFSET, VN_RECORD_MAX
RECORD_HEADER = sizeof(vn_record)
PAYLOAD_MAX = VN_RECORD_MAX - sizeof(vn_record)
PAYLOAD_MIN = VN_VNET_HDR + VN_ETH_HDR
VNET_HEADER = VN_VNET_HDR
OFFSETS = {"head": 64, "want_room": 128, "tail": 192, "wake_at": 256}
"""Where the cursors of a link region lie, in bytes; link_layout.h asserts the same at build time."""


cdef class Producer:
    """Writes records into the ring of `own`, and minds the cursor in `peer` (two mapped Regions)."""

    cdef Tx tx
    cdef object regions

    def __cinit__(self, own, peer):
        self.regions = (own, peer)
        tx_begin(&self.tx, <vn_link_region *><size_t>own.address, <const vn_link_region *><size_t>peer.address)

    @property
    def fault(self):
        return vn_fault_names[self.tx.fault].decode()

    @property
    def room(self):
        """Free bytes as far as is known after a fresh look."""
        return tx_room(&self.tx, <uint64_t>-1)

    def write(self, const unsigned char[:] payload, int kind=VN_FRAME, int source=1, uint64_t link_id=0):
        """Commit one record; False when there is no room."""
        cdef uint32_t length = <uint32_t>payload.shape[0]
        if not 0 < length <= VN_RECORD_MAX - sizeof(vn_record):
            raise ValueError("the payload does not fit a record")
        cdef char *place = tx_reserve(&self.tx, span_of(length))
        if place == NULL:
            return False
        memcpy(place + sizeof(vn_record), &payload[0], length)
        tx_commit(&self.tx, length, <uint16_t>kind, <uint16_t>source, link_id)
        return True

    def publish(self):
        """Show the consumer what was written; True when it wants a doorbell."""
        return tx_publish(&self.tx)

    def arm(self):
        """Ask for a doorbell when there is room."""
        tx_arm(&self.tx)


cdef class Consumer:
    """Reads the records of the ring in `peer`, and keeps its cursor in `own`."""

    cdef Rx rx
    cdef object regions

    def __cinit__(self, own, peer):
        self.regions = (own, peer)
        rx_begin(&self.rx, <vn_link_region *><size_t>own.address, <const vn_link_region *><size_t>peer.address)

    @property
    def fault(self):
        return vn_fault_names[self.rx.fault].decode()

    def ready(self):
        """Bytes of records that wait."""
        return rx_ready(&self.rx)

    def read(self):
        """The next record as (kind, source, payload), or None."""
        cdef Record record
        if not rx_ready(&self.rx) or not rx_next(&self.rx, &record):
            return None
        payload = record.payload[: record.length]
        rx_consume(&self.rx, &record)
        return record.kind, record.source, payload

    def publish(self):
        """Give the bytes read back; True when the producer wants a doorbell."""
        return rx_publish(&self.rx)

    def arm(self):
        """Ask for a doorbell at the next record; True when one is there already."""
        return rx_arm(&self.rx)
