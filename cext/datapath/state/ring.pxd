"""One-way ring between two processes: the producer's and the consumer's operations, inlined into the loop.

Theory of operation. A ring is written by one process and read by one other. The producer owns the bytes and
`head`, the consumer owns `tail`, each in memory that the other can only read. Both cursors only grow; the
bytes between tail and head are records. A Tx or Rx is one side's private view: its own cursor, and the last
*checked* copy of the other's. Nothing in the peer's memory is used before a private copy of it was checked:

  - a cursor must be a multiple of 64, must not go back, and must not be further ahead than the ring is long;
  - a record's header is loaded once; its length must hold a frame, fit a record, and end before head.

What fails is a fault: it is kept in the view, every later operation refuses, and the link is dropped.

Waking. A consumer that goes to sleep publishes in `wake_at` the cursor value after which it wants a doorbell,
and looks at head once more; a producer rings only when a publication passes that value. `want_room` is the
same for a producer that waits for the tail. barrier.h says why neither can miss the other.
"""

from libc.stdint cimport uint16_t, uint32_t, uint64_t

from abi.abi cimport *


cdef struct Tx:
    char *data                   # the ring's bytes, ours
    vn_link_region *own
    const vn_link_region *peer
    uint64_t head                # end of what is written, published or not
    uint64_t published
    uint64_t tail                # checked copy of the peer's cursor
    int fault


cdef struct Rx:
    const char *data             # the ring's bytes, the peer's
    vn_link_region *own
    const vn_link_region *peer
    uint64_t head                # checked copy of the peer's cursor
    uint64_t tail                # end of what is read, published or not
    uint64_t published
    int fault


cdef struct Record:
    const char *payload          # still in the peer's memory
    uint32_t length
    uint16_t kind
    uint16_t source
    uint64_t link_id
    uint64_t span                # bytes of the ring that it takes


cdef inline uint64_t span_of(uint32_t length) noexcept nogil:
    """Bytes of the ring that a record with `length` bytes of payload takes."""
    return (sizeof(vn_record) + <uint64_t>length + VN_LINE - 1) & ~<uint64_t>(VN_LINE - 1)


cdef inline bint passed(uint64_t mark, uint64_t old, uint64_t new) noexcept nogil:
    """Whether a cursor that went from old to new left `mark` behind (virtio's event index)."""
    return new - mark - 1 < new - old


cdef inline int check_cursor(uint64_t value, uint64_t last, uint64_t most) noexcept nogil:
    """Fault of a peer's cursor: it was `last`, and may be at most `most` bytes further."""
    if value & (VN_LINE - 1):
        return VN_FAULT_cursor_unaligned
    if <long long>(value - last) < 0:
        return VN_FAULT_cursor_back
    if value - last > most:
        return VN_FAULT_cursor_ahead
    return VN_FAULT_none


# ------------------------------------------------------------------------------------------- producer

cdef inline uint64_t tx_room(Tx *tx, uint64_t need) noexcept nogil:
    """Free bytes; the peer's cursor is only looked at when fewer than `need` are known to be free."""
    cdef uint64_t room = VN_RING_SIZE - (tx.head - tx.tail), tail
    if room >= need or tx.fault:
        return 0 if tx.fault else room
    tail = vn_load_acquire(&tx.peer.tail)
    tx.fault = check_cursor(tail, tx.tail, tx.head - tx.tail)
    if tx.fault:
        return 0
    tx.tail = tail
    return VN_RING_SIZE - (tx.head - tail)


cdef inline uint64_t tx_free(const Tx *tx) noexcept nogil:
    """Bytes that are known to be free, by the last look at the peer's cursor."""
    return VN_RING_SIZE - (tx.head - tx.tail)


cdef inline char *tx_reserve(Tx *tx, uint64_t need) noexcept nogil:
    """Where the next record goes when `need` bytes are free for it, else NULL."""
    if tx_room(tx, need) < need:
        return NULL
    return tx.data + (tx.head & (VN_RING_SIZE - 1))


cdef inline void tx_commit(Tx *tx, uint32_t length, uint16_t kind, uint16_t source, uint64_t link_id) noexcept nogil:
    """Finish the record at the reserved place; its payload stands there already."""
    cdef vn_record *record = <vn_record *>(tx.data + (tx.head & (VN_RING_SIZE - 1)))
    record.length = length
    record.kind = kind
    record.source = source
    record.link_id = link_id
    tx.head += span_of(length)


cdef inline uint64_t tx_waiting(const Tx *tx) noexcept nogil:
    """Bytes that are committed and not published."""
    return tx.head - tx.published


cdef inline const vn_record *tx_record(const Tx *tx, uint64_t cursor) noexcept nogil:
    """The committed record that begins at `cursor`; the ring is our own memory."""
    return <const vn_record *>(tx.data + (cursor & (VN_RING_SIZE - 1)))


cdef inline uint64_t tx_next_waiting(const Tx *tx, uint64_t cursor, uint64_t *bytes) noexcept nogil:
    """The end of the committed record that begins at `cursor`, and what of it counts."""
    cdef const vn_record *record = tx_record(tx, cursor)
    bytes[0] = record.link_id if record.kind == VN_FRAME else 0
    return cursor + span_of(record.length)


cdef inline bint tx_publish_to(Tx *tx, uint64_t cursor) noexcept nogil:
    """Show the consumer what was committed up to `cursor`; True when it sleeps and wants a doorbell."""
    cdef uint64_t old = tx.published
    if old == cursor:
        return False
    vn_store_release(&tx.own.head, cursor)
    tx.published = cursor
    vn_fence()
    return passed(vn_load_relaxed(&tx.peer.wake_at), old, cursor)


cdef inline bint tx_publish(Tx *tx) noexcept nogil:
    """Show the consumer all that was committed; True when it sleeps and wants a doorbell."""
    return tx_publish_to(tx, tx.head)


cdef inline void tx_arm(Tx *tx) noexcept nogil:
    """Ask for a doorbell when half of the ring, or all that is in use, was read; look for room again after this."""
    cdef uint64_t used = tx.head - tx.tail
    cdef uint64_t half = VN_RING_SIZE // 2
    vn_store_relaxed(&tx.own.want_room, tx.tail + (used if used < half else half) - 1)
    vn_fence()


# ------------------------------------------------------------------------------------------- consumer

cdef inline uint64_t rx_ready(Rx *rx) noexcept nogil:
    """Bytes of records that wait; looks at the peer's cursor."""
    cdef uint64_t head
    if rx.fault:
        return 0
    head = vn_load_acquire(&rx.peer.head)
    if head == rx.head:
        return head - rx.tail
    rx.fault = check_cursor(head, rx.head, VN_RING_SIZE - (rx.head - rx.tail))
    if rx.fault:
        return 0
    rx.head = head
    return head - rx.tail


cdef inline bint rx_next(Rx *rx, Record *record) noexcept nogil:
    """Copy and check the next record's header; False when there is none or it is a fault."""
    cdef vn_record header
    cdef const char *place = rx.data + (rx.tail & (VN_RING_SIZE - 1))
    if rx.tail == rx.head or rx.fault:
        return False
    vn_copy_once(&header, place, sizeof(header))
    if header.length < VN_VNET_HDR + VN_ETH_HDR:
        rx.fault = VN_FAULT_record_short
    elif header.length > VN_RECORD_MAX - sizeof(vn_record):
        rx.fault = VN_FAULT_record_long
    elif span_of(header.length) > rx.head - rx.tail:
        rx.fault = VN_FAULT_record_beyond
    elif header.kind != VN_FRAME and header.kind != VN_MARK:
        rx.fault = VN_FAULT_record_kind
    if rx.fault:
        return False
    record.payload = place + sizeof(vn_record)
    record.length = header.length
    record.kind = header.kind
    record.source = header.source
    record.link_id = header.link_id
    record.span = span_of(header.length)
    return True


cdef inline void rx_consume(Rx *rx, const Record *record) noexcept nogil:
    """The record is done with; the producer sees that with the next rx_publish."""
    rx.tail += record.span


cdef inline bint rx_publish(Rx *rx) noexcept nogil:
    """Give the read bytes back; True when the producer waits for room and wants a doorbell."""
    cdef uint64_t old = rx.published
    if old == rx.tail:
        return False
    vn_store_release(&rx.own.tail, rx.tail)
    rx.published = rx.tail
    vn_fence()
    return passed(vn_load_relaxed(&rx.peer.want_room), old, rx.tail)


cdef inline bint rx_arm_at(Rx *rx, uint64_t most) noexcept nogil:
    """Ask for a doorbell when more than `most` bytes wait; True when that is so already."""
    vn_store_relaxed(&rx.own.wake_at, rx.tail + most)
    vn_fence()
    return rx_ready(rx) > most or rx.fault != 0


cdef inline bint rx_arm(Rx *rx) noexcept nogil:
    """Ask for a doorbell at the next record; True when one is there already, so that one must not sleep."""
    vn_store_relaxed(&rx.own.wake_at, rx.tail)
    vn_fence()
    return rx_ready(rx) != 0 or rx.fault != 0


# ------------------------------------------------------------------------------------------- identity

cdef inline void write_identity(vn_link_region *own, uint16_t maker, uint16_t peer, uint64_t link_id) noexcept nogil:
    own.version = VN_VERSION
    own.maker = maker
    own.peer = peer
    own.ring_offset = VN_RING_OFFSET
    own.ring_size = VN_RING_SIZE
    own.record_max = VN_RECORD_MAX
    own.link_id = link_id
    own.magic = VN_LINK_MAGIC


cdef inline bint identity_fits(const vn_link_region *region, uint16_t maker, uint16_t peer, uint64_t link_id) noexcept nogil:
    """Whether a peer's region is the other half of this link; its size and seals were checked before."""
    cdef vn_link_region copy
    vn_copy_once(&copy, region, VN_LINE)
    return (copy.magic == VN_LINK_MAGIC and copy.version == VN_VERSION and copy.maker == maker and copy.peer == peer
            and copy.ring_offset == VN_RING_OFFSET and copy.ring_size == VN_RING_SIZE
            and copy.record_max == VN_RECORD_MAX and copy.link_id == link_id)


cdef inline void tx_begin(Tx *tx, vn_link_region *own, const vn_link_region *peer) noexcept nogil:
    tx.data = <char *>own + VN_RING_OFFSET
    tx.own, tx.peer = own, peer
    tx.head = tx.published = tx.tail = 0
    tx.fault = VN_FAULT_none
    own.want_room = <uint64_t>-1


cdef inline void rx_begin(Rx *rx, vn_link_region *own, const vn_link_region *peer) noexcept nogil:
    rx.data = <const char *>peer + VN_RING_OFFSET
    rx.own, rx.peer = own, peer
    rx.head = rx.tail = rx.published = 0
    rx.fault = VN_FAULT_none
