"""Hostile ring states and frames by the million: what a peer or a partition may show us, made by chance from a seed.

Each call keeps what it looks at in memory of just its size, so that a sanitizer sees a look beyond it, and checks by
itself what must hold. AssertionError, with the number of the state, when something does not.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memset

from abi.abi cimport *
from datapath.frame.address_table cimport is_honest, learn_port, swap_addresses
from datapath.frame.inspect cimport *
from datapath.frame.neighbour cimport NEIGHBOUR_ANSWER, neighbour_answer, sought_port
from datapath.frame.mac_table cimport is_reserved, learn, mac_at
from datapath.frame.segment cimport *
from datapath.frame.too_big cimport too_big
from datapath.io.tap cimport FLOOD, classify
from datapath.state.ring cimport *
from datapath.state.state cimport NO_PORT, AddressSlot, Engine


cdef inline uint64_t chance(uint64_t *state) noexcept nogil:
    """The next number of splitmix64."""
    cdef uint64_t z
    state[0] += <uint64_t>0x9E3779B97F4A7C15
    z = state[0]
    z = (z ^ (z >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
    z = (z ^ (z >> 27)) * <uint64_t>0x94D049BB133111EB
    return z ^ (z >> 31)


cdef inline uint64_t near(uint64_t *state, uint64_t value) noexcept nogil:
    """Often a number close to `value`, at times any."""
    cdef uint64_t which = chance(state)
    if which & 7 == 0:
        return chance(state)
    if which & 7 == 1:
        return chance(state) >> (chance(state) & 63)
    return value + (chance(state) % 5) - 2


# ------------------------------------------------------------------------------------------------ rings

cdef struct Ends:
    vn_link_region *own
    vn_link_region *liar
    Rx rx
    Tx tx


cdef inline void begin(Ends *ends) noexcept nogil:
    ends.liar.head = ends.liar.tail = ends.own.head = ends.own.tail = 0
    rx_begin(&ends.rx, ends.own, ends.liar)
    tx_begin(&ends.tx, ends.own, ends.liar)


cdef inline void lie(Ends *ends, uint64_t *state) noexcept nogil:
    """Changes something of the peer's side; half of the time so that it could be honest."""
    cdef vn_record *record = <vn_record *>(<char *>ends.liar + VN_RING_OFFSET + (ends.rx.tail & (VN_RING_SIZE - 1)))
    cdef uint64_t what = chance(state) % 8
    if what == 0:
        ends.liar.head = near(state, ends.rx.tail + chance(state) % (2 * VN_RING_SIZE))
    elif what <= 2:
        ends.liar.head = ends.rx.head + (chance(state) % 64) * VN_LINE
    elif what == 3:
        ends.liar.tail = near(state, ends.tx.head)
    elif what == 4:
        ends.liar.tail = ends.tx.tail + (chance(state) % ((ends.tx.head - ends.tx.tail) // VN_LINE + 1)) * VN_LINE
    elif what == 5:
        record.length = <uint32_t>near(state, VN_RECORD_MAX - sizeof(vn_record))
        record.kind = <uint16_t>near(state, VN_FRAME)
    else:
        record.length = <uint32_t>(VN_VNET_HDR + VN_ETH_HDR + chance(state) % 2000)
        record.kind = VN_FRAME if chance(state) & 1 else VN_MARK
        record.source = <uint16_t>chance(state)


cdef inline bint read_all(Ends *ends, uint64_t *records) noexcept nogil:
    """Takes what there is, as the loop does; False when something is not where it may be."""
    cdef Record record
    cdef volatile char last
    cdef uint64_t taken = 0
    cdef const char *end = ends.rx.data + VN_RING_SIZE + VN_RECORD_MAX
    while taken < 64 and rx_ready(&ends.rx) and rx_next(&ends.rx, &record):
        if record.payload < ends.rx.data or record.payload + record.length > end:
            return False
        last = record.payload[0]
        last = record.payload[record.length - 1]
        rx_consume(&ends.rx, &record)
        taken += 1
    records[0] += taken
    rx_publish(&ends.rx)
    return ends.rx.head - ends.rx.tail <= VN_RING_SIZE and ends.rx.tail & (VN_LINE - 1) == 0


cdef inline bint write_some(Ends *ends, uint64_t *state) noexcept nogil:
    cdef uint32_t length = <uint32_t>(VN_VNET_HDR + VN_ETH_HDR + chance(state) % 3000)
    cdef char *place = tx_reserve(&ends.tx, span_of(length))
    if place == NULL:
        return True
    if place < ends.tx.data or place + span_of(length) > ends.tx.data + VN_RING_SIZE + VN_RECORD_MAX:
        return False
    memset(place + sizeof(vn_record), 1, length)
    tx_commit(&ends.tx, length, VN_FRAME, 1, 0)
    tx_publish(&ends.tx)
    return ends.tx.head - ends.tx.tail <= VN_RING_SIZE


def ring_states(uint64_t seed, uint64_t count):
    """Looks at so many states of a hostile peer's side; {"records": taken, "faults": found}."""
    cdef Ends ends
    cdef uint64_t state = seed, number, records = 0, faults = 0
    cdef bint fine = True
    ends.own = <vn_link_region *>calloc(1, VN_LINK_REGION)
    ends.liar = <vn_link_region *>calloc(1, VN_LINK_REGION)
    if ends.own == NULL or ends.liar == NULL:
        free(ends.own)
        free(ends.liar)
        raise MemoryError
    with nogil:
        begin(&ends)
        for number in range(count):
            lie(&ends, &state)
            fine = read_all(&ends, &records) and write_some(&ends, &state)
            if not fine:
                break
            if ends.rx.fault or ends.tx.fault:
                faults += 1
                begin(&ends)
    free(ends.own)
    free(ends.liar)
    assert fine, f"state {number} of seed {seed}"
    return {"records": records, "faults": faults}


# ----------------------------------------------------------------------------------------------- frames

cdef const char *NEXT_HEADERS = b"\x3a\x00\x2b\x2c\x3c\x33\x06\x11"  # ICMPv6, options, routing, fragment, .. TCP, UDP


cdef inline uint32_t make_frame(char *frame, uint64_t *state) noexcept nogil:
    """Random bytes, most of them with the beginning of something that is known; its length."""
    cdef uint32_t length = <uint32_t>(VN_ETH_HDR + chance(state) % 187), i
    cdef uint64_t what = chance(state) % 8, word
    for i in range(0, 208, 8):
        word = chance(state)
        memcpy(frame + i, &word, 8)
    if what <= 1:
        memcpy(frame + 12, b"\x08\x06\x00\x01\x08\x00\x06\x04\x00", 9)
        frame[21] = <char>(1 + chance(state) % 2)
    elif what <= 3:
        memcpy(frame + 12, b"\x08\x00", 2)
        frame[14] = <char>(0x40 + chance(state) % 16)
    elif what <= 6:
        memcpy(frame + 12, b"\x86\xdd\x60", 3)
        frame[18], frame[19] = 0, <char>(chance(state) % 180)
        frame[20] = NEXT_HEADERS[chance(state) % 8]
        frame[54] = <char>(133 + chance(state) % 5) if chance(state) & 1 else frame[54]
    if chance(state) % 16 == 0:
        memcpy(frame + 12, b"\x81\x00", 2)
    return length


cdef inline bint is_inside(const Inspected *found, uint32_t copied) noexcept nogil:
    cdef uint32_t bytes = 16 if found.kind == FRAME_IPV6 else 4
    if found.kind == FRAME_OTHER or found.kind == FRAME_BAD:
        return True
    return found.source + bytes <= copied and found.target + bytes <= copied


cdef inline bint judge(const char *vnet, char *frame, uint32_t copied, uint32_t length) noexcept nogil:
    """All that the loop asks of a frame; False when something lies outside of it."""
    cdef Inspected found
    cdef uint32_t at
    cdef char answer[VN_VNET_HDR + 1500]
    inspect(frame, copied, length, &found)
    if not is_inside(&found, copied):
        return False
    if found.kind != FRAME_OTHER and found.kind != FRAME_BAD:
        claims_unspecified(frame, &found)
        at = claimed_target(frame, &found)
        if at and at + 16 > copied:
            return False
        at = nd_target(&found)
        if at and at + 16 > copied:
            return False
    checksum_is_honest(vnet, &found)
    segment_size(vnet, frame, copied, length)
    wire_bytes(vnet, frame, copied, length)
    is_shredded(vnet, length)
    if too_big(answer, frame, copied, length, &found, 1280) > sizeof(answer):
        return False
    set_link_address(frame, copied, length, &found, b"\x02\x00\x00\x00\x00\x09", vnet[0] & 1)
    set_target_link_address(frame, &found, b"\x02\x00\x00\x00\x00\x09")
    return True


cdef inline bint cut(const char *vnet, const char *frame, uint32_t length) noexcept nogil:
    """Cuts a frame that is all there; False when a segment is longer, or there are too many."""
    cdef Segments segments
    cdef char header[VN_VNET_HDR]
    cdef char out[256]
    cdef uint32_t made = 0, size
    is_encapsulated(vnet, frame, length, length)
    if not segments_begin(&segments, vnet, frame, length, vnet[9] & 1):
        return True
    if segments.inner == 0 and segments.leaves_checksum and vnet[2] & 1:
        join_segments(&segments)
    while made <= SEGMENTS_MOST:
        size = next_segment(&segments, header, out)
        if size == 0:
            return True
        if size > length:
            return False
        made += 1
    return False


def frames(uint64_t seed, uint64_t count):
    """Judges so many frames, in memory of their size; the number of those that are IP or ARP."""
    cdef uint64_t state = seed, number, known = 0
    cdef uint32_t copied, length
    cdef char whole[256]
    cdef char vnet[VN_VNET_HDR]
    cdef char *frame
    cdef Inspected found
    cdef uint64_t word
    cdef bint fine = True
    with nogil:
        for number in range(count):
            copied = make_frame(whole, &state)
            length = copied if copied < PEEK else copied + <uint32_t>(chance(&state) % 65000)
            word = chance(&state)
            memcpy(vnet, &word, 8)
            word = chance(&state)
            memcpy(vnet + 8, &word, 2)
            if chance(&state) & 1:
                vnet[0], vnet[1] = 1, <char>(chance(&state) % 6)
                vnet[4], vnet[5] = <char>(chance(&state) % 80), 0
                vnet[6], vnet[7] = <char>(chance(&state) % 80), 0
                vnet[8], vnet[9] = 16 if chance(&state) & 1 else 6, 0
            frame = <char *>malloc(copied)
            if frame == NULL:
                break
            memcpy(frame, whole, copied)
            inspect(frame, copied, length, &found)
            known += found.kind != FRAME_OTHER and found.kind != FRAME_BAD
            fine = cut(vnet, frame, copied) and judge(vnet, frame, copied, length)
            free(frame)
            if not fine:
                break
    assert fine, f"frame {number} of seed {seed}"
    return known


# ------------------------------------------------------------------------------------------------ guard

cdef enum:
    SLOTS = 64                   # of the table of addresses, of which two ports need eight
    OWN_PORT = 1
    OTHER_PORT = 2


cdef inline void describe(vn_directory_entry *entry, uint8_t last) noexcept nogil:
    """A port's entry: a MAC, 10.0.0.LAST and fd00::LAST."""
    memcpy(entry.mac, b"\x02\x00\x00\x00\x00\x00", 6)
    entry.mac[5] = last
    entry.state, entry.address_count = VN_PORT_LIVE, 2
    entry.addresses[0].family, entry.addresses[1].family = 4, 6
    memcpy(entry.addresses[0].bytes, b"\x0a\x00\x00", 3)
    entry.addresses[0].bytes[3] = last
    entry.addresses[1].bytes[0], entry.addresses[1].bytes[15] = 0xFD, last


cdef inline bint begin_guard(Engine *e, vn_directory_entry *entries) noexcept nogil:
    """The state of port 1 beside port 2, where the addresses are guarded; False without memory."""
    cdef uint16_t port
    e.addresses.most = e.addresses.spare_size = SLOTS
    e.addresses.slots = <AddressSlot *>calloc(SLOTS, sizeof(AddressSlot))
    e.addresses.spare = <AddressSlot *>calloc(SLOTS, sizeof(AddressSlot))
    if e.addresses.slots == NULL or e.addresses.spare == NULL:
        return False
    for port in range(OWN_PORT, OTHER_PORT + 1):
        describe(&entries[port], <uint8_t>port)
        e.port_mac[port], e.port_state[port] = mac_at(<const char *>entries[port].mac), VN_PORT_LIVE
        learn(e, e.port_mac[port], port)
        learn_port(e, &entries[port], port)
    swap_addresses(e)
    e.port, e.mac, e.flags = OWN_PORT, e.port_mac[OWN_PORT], VN_GUARD | VN_UPLINK
    return True


cdef inline void put_address(char *frame, uint32_t at, int bytes, uint64_t *state) noexcept nogil:
    """An address of either port, or none, or one of a group where an address is awaited."""
    cdef uint64_t which = chance(state) % 8
    if which == 7:
        return
    memset(frame + at, 0, bytes)
    if which <= 5:
        frame[at] = 10 if bytes == 4 else <char>0xFD
        frame[at + bytes - 1] = OWN_PORT if which <= 4 else OTHER_PORT


cdef inline void make_claim(char *frame, uint64_t *state) noexcept nogil:
    """Have a frame of make_frame() claim addresses that are known."""
    if chance(state) % 8:
        memcpy(frame + 6, b"\x02\x00\x00\x00\x00\x01", 6)
    if chance(state) & 1:
        memcpy(frame, b"\x02\x00\x00\x00\x00\x02", 6)
    if be16(frame + 12) == 0x0806:
        put_address(frame, 28, 4, state)
        memcpy(frame + 22, frame + 6, 6 if chance(state) & 3 else 3)
    elif be16(frame + 12) == 0x0800:
        put_address(frame, 26, 4, state)
    else:
        put_address(frame, 22, 16, state)
        put_address(frame, 62, 16, state)


cdef inline bint is_own(const char *address, int bytes, const vn_directory_entry *own) noexcept nogil:
    """Whether an address is the port's, told without the table."""
    if bytes == 4:
        return memcmp(address, own.addresses[0].bytes, 4) == 0
    return (memcmp(address, own.addresses[1].bytes, 16) == 0
            or memcmp(address, b"\xfe\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xfe\x00\x00\x01", 16) == 0)


cdef inline bint may_go(const char *frame, const Inspected *found, const vn_directory_entry *own) noexcept nogil:
    """Whether all that a frame claims is the port's: where it comes from, and whom it speaks for."""
    cdef int bytes = 16 if found.kind == FRAME_IPV6 else 4
    cdef const char *none = b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
    cdef bint nobody = memcmp(frame + found.source, none, bytes) == 0
    if found.kind == FRAME_OTHER or found.kind == FRAME_BAD or found.icmp6 == ND_RA or found.icmp6 == ND_REDIRECT:
        return False
    if not nobody and not is_own(frame + found.source, bytes, own):
        return False
    if found.icmp6 == ND_NA or (found.icmp6 == ND_NS and nobody):
        return is_own(frame + found.icmp6_at + 8, 16, own)
    return True


cdef inline int guard(Engine *e, const char *frame, uint32_t copied, uint32_t length, const vn_directory_entry *own) noexcept nogil:
    """1 for a frame that may go, 0 for one that may not, -1 when that is wrong. Its header lies before it."""
    cdef Inspected found
    cdef uint16_t port = 0
    cdef bint honest = is_honest(e, OWN_PORT, frame - VN_VNET_HDR, frame, copied, length)
    cdef int reason = classify(e, frame, length, &port)
    if reason >= 0:
        return 0 if reason < VN_DROP_COUNT else -1
    if not honest or mac_at(frame + 6) != e.mac or is_reserved(frame):
        return -1
    if port != FLOOD and port != 0 and port != OTHER_PORT:
        return -1
    inspect(frame, copied, length, &found)
    return 1 if may_go(frame, &found, own) else -1


cdef inline bint answers_well(const Engine *e, const char *frame, uint32_t copied, uint32_t length) noexcept nogil:
    """Whether a question for a neighbour is only taken for one where it is, and its answer is no longer than may be."""
    cdef Inspected found
    cdef char answer[NEIGHBOUR_ANSWER]
    cdef uint16_t port
    inspect(frame, copied, length, &found)
    port = sought_port(e, frame, &found)
    if port == NO_PORT:
        return True
    return port == OTHER_PORT and neighbour_answer(answer, frame, &found, b"\x02\0\0\0\0\x02") <= NEIGHBOUR_ANSWER


def guards(uint64_t seed, uint64_t count):
    """Has the guard and the choice of a port judge so many frames, in memory of their size; how many may go."""
    cdef uint64_t state = seed, number, honest = 0, word
    cdef uint32_t copied, length
    cdef char whole[256]
    cdef char *memory
    cdef int outcome = 0
    cdef vn_directory_entry entries[3]
    cdef Engine *e = <Engine *>calloc(1, sizeof(Engine))
    if e == NULL:
        raise MemoryError
    memset(entries, 0, sizeof(entries))
    with nogil:
        for number in range(count if begin_guard(e, entries) else 0):
            copied = make_frame(whole, &state)
            make_claim(whole, &state)
            copied = copied if copied < PEEK else PEEK
            length = copied if copied < PEEK else copied + <uint32_t>(chance(&state) % 65000)
            memory = <char *>calloc(1, VN_VNET_HDR + copied)
            if memory == NULL:
                break
            word = chance(&state)
            if word & 1:
                memcpy(memory, &word, 8)
            memcpy(memory + VN_VNET_HDR, whole, copied)
            outcome = guard(e, memory + VN_VNET_HDR, copied, length, &entries[OWN_PORT])
            if not answers_well(e, memory + VN_VNET_HDR, copied, length):
                outcome = -1
            free(memory)
            if outcome < 0:
                break
            honest += outcome
    free(e.addresses.slots)
    free(e.addresses.spare)
    free(e)
    assert outcome >= 0, f"frame {number} of seed {seed}"
    return honest
