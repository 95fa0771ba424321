"""What a frame is and which addresses it claims: ARP, IPv4, IPv6 and neighbour discovery, told from its first bytes.

Theory of operation. A hostile partition made the frame, so every offset is checked before it is followed, and
all functions work on a private copy of the first `copied` bytes of a frame of `length` bytes, which nobody
changes between a check and a use. inspect() does all the checking: a frame whose meaning does not lie within
the copy is FRAME_BAD, which is for nobody. The other functions trust what inspect() found of the same frame.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from abi.abi cimport *

cdef enum:
    PEEK = 192                   # bytes of a frame that are looked at; what does not fit is refused where it matters

cdef enum:
    FRAME_OTHER = 0              # neither IP nor ARP
    FRAME_ARP
    FRAME_IPV4
    FRAME_IPV6
    FRAME_BAD                    # truncated, inconsistent, VLAN-tagged, or made so that it can't be judged

cdef enum:
    ND_RS = 133
    ND_RA = 134
    ND_NS = 135
    ND_NA = 136
    ND_REDIRECT = 137

cdef enum:
    ARP_SENDER = 22              # offset of the sender's hardware address in a frame
    ARP_TARGET = 32
    ARP_END = 42
    ARP_REPLY = 2
    IPV4_END = 34                # of the header without options
    IPV6_END = 54
    ICMP = 1
    ICMPV6 = 58
    VNET_NEEDS_CSUM = 1
    GSO_TCPV4 = 1
    GSO_TCPV6 = 4
    GSO_UDP_L4 = 5
    GSO_ECN = 0x80


cdef struct Inspected:
    int kind
    uint8_t icmp6                # type of the ICMPv6 message, 0 when it is none or not known
    uint16_t icmp6_at            # offset of it in the frame
    uint16_t source              # offset of the source address (ARP: sender protocol address), 4 or 16 bytes
    uint16_t target              # offset of the address that it is for (ARP: target protocol address; IP: destination)
    uint8_t protocol             # of IP: what follows its headers
    uint8_t later                # of IP: a fragment other than the first
    uint16_t upper               # of IP: offset of what follows its headers


cdef inline uint16_t be16(const char *p) noexcept nogil:
    return <uint16_t>((<uint8_t>p[0] << 8) | <uint8_t>p[1])


cdef inline uint16_t be16_host(const char *p) noexcept nogil:
    """A field of a vnet header, which has the byte order of the machine."""
    cdef uint16_t value
    memcpy(&value, p, 2)
    return value


cdef inline void put_be16(char *p, uint32_t value) noexcept nogil:
    p[0] = <char>((value >> 8) & 0xFF)
    p[1] = <char>(value & 0xFF)


# ------------------------------------------------------------------------------------------- what it is

cdef inline bint is_nd(const Inspected *found) noexcept nogil:
    return ND_RS <= found.icmp6 <= ND_REDIRECT


cdef inline uint32_t nd_options(const Inspected *found) noexcept nogil:
    """Where a neighbour discovery message's options begin in the frame."""
    cdef uint32_t fixed = 24
    if found.icmp6 == ND_RS:
        fixed = 8
    elif found.icmp6 == ND_RA:
        fixed = 16
    elif found.icmp6 == ND_REDIRECT:
        fixed = 40
    return found.icmp6_at + fixed


cdef inline bint nd_fits(const char *frame, uint32_t copied, const Inspected *found) noexcept nogil:
    """Whether a neighbour discovery message lies within the copy and its options are as long as they say."""
    cdef uint32_t at = nd_options(found), end = IPV6_END + be16(frame + 18)
    if end > copied:
        return False
    while at + 2 <= end and frame[at + 1]:
        at += 8 * <uint32_t><uint8_t>frame[at + 1]
    return at == end


cdef inline int inspect_arp(const char *frame, uint32_t copied, Inspected *found) noexcept nogil:
    cdef uint16_t operation
    if copied < ARP_END or be16(frame + 14) != 1 or be16(frame + 16) != 0x0800 or be16(frame + 18) != 0x0604:
        return FRAME_BAD
    operation = be16(frame + 20)
    found.source, found.target = 28, 38
    return FRAME_ARP if operation == 1 or operation == ARP_REPLY else FRAME_BAD


cdef inline int inspect_ipv4(const char *frame, uint32_t copied, Inspected *found) noexcept nogil:
    """The total length is not judged: a frame that is still to be segmented may say what it likes there."""
    cdef uint32_t header
    if copied < IPV4_END or (<uint8_t>frame[14] >> 4) != 4:
        return FRAME_BAD
    header = (<uint8_t>frame[14] & 15) * 4
    if header < 20 or VN_ETH_HDR + header > copied:
        return FRAME_BAD
    found.source, found.target = 26, 30
    found.protocol, found.upper = <uint8_t>frame[23], <uint16_t>(VN_ETH_HDR + header)
    found.later = (be16(frame + 20) & 0x1FFF) != 0
    return FRAME_IPV4


cdef inline int inspect_ipv6(const char *frame, uint32_t copied, Inspected *found) noexcept nogil:
    """Follow the extension headers, which neighbour discovery may hide behind.

    Receivers refuse it in fragments (RFC 6980). That is not relied on, but only the first fragment, where all
    extension headers must be, has to be judged for it: without that one the others are never put together.
    """
    cdef uint32_t at = IPV6_END, end
    cdef uint8_t header
    cdef bint fragment = False
    if copied < IPV6_END or (<uint8_t>frame[14] >> 4) != 6:
        return FRAME_BAD
    found.source, found.target = 22, 38
    header = <uint8_t>frame[20]
    end = min(copied, <uint32_t>(IPV6_END + be16(frame + 18)))  # what lies behind the payload is padding
    while header == 0 or header == 43 or header == 44 or header == 51 or header == 60:
        if at + 8 > end:
            return FRAME_BAD
        if header == 44:
            fragment = True
            found.later = (be16(frame + at + 2) & 0xFFF8) != 0
        found.protocol = <uint8_t>frame[at]
        if found.later:
            found.upper = <uint16_t>(at + 8)
            return FRAME_IPV6
        if header == 44:
            at += 8
        elif header == 51:
            at += (<uint32_t><uint8_t>frame[at + 1] + 2) * 4
        else:
            at += (<uint32_t><uint8_t>frame[at + 1] + 1) * 8
        header = found.protocol
    found.protocol, found.upper = header, <uint16_t>at
    if at > end or (header == ICMPV6 and at == end):
        return FRAME_BAD
    if header == ICMPV6:
        found.icmp6, found.icmp6_at = <uint8_t>frame[at], <uint16_t>at
        if is_nd(found) and (fragment or not nd_fits(frame, copied, found)):
            return FRAME_BAD
    return FRAME_IPV6


cdef inline void inspect(const char *frame, uint32_t copied, uint32_t length, Inspected *found) noexcept nogil:
    """Tell what a frame is. Of a FRAME_BAD and a FRAME_OTHER nothing but the kind is set."""
    cdef uint16_t ethertype
    cdef int kind = FRAME_OTHER
    memset(found, 0, sizeof(Inspected))
    copied = min(copied, length, <uint32_t>0xFFFF)  # offsets have 16 bits
    found.kind = FRAME_BAD
    if copied < VN_ETH_HDR:
        return
    ethertype = be16(frame + 12)
    if ethertype == 0x0800:
        kind = inspect_ipv4(frame, copied, found)
    elif ethertype == 0x86DD:
        kind = inspect_ipv6(frame, copied, found)
    elif ethertype == 0x0806:
        kind = inspect_arp(frame, copied, found)
    elif ethertype == 0x8035 or ethertype == 0x8100 or ethertype == 0x88A8 or ethertype == 0x9100:
        kind = FRAME_BAD         # RARP, and VLAN tags, behind which anything could be
    if kind == FRAME_BAD:
        memset(found, 0, sizeof(Inspected))
    found.kind = kind


# ------------------------------------------------------------------------------------------- what it claims

cdef inline bint claims_unspecified(const char *frame, const Inspected *found) noexcept nogil:
    """Whether the source is 0.0.0.0 or ::, as of one that has no address yet."""
    cdef char zeros[16]
    if found.source == 0:
        return False
    memset(zeros, 0, sizeof(zeros))
    return memcmp(frame + found.source, zeros, 16 if found.kind == FRAME_IPV6 else 4) == 0


cdef inline uint16_t nd_target(const Inspected *found) noexcept nogil:
    """Offset of the target address of a neighbour solicitation or advertisement, else 0."""
    return <uint16_t>(found.icmp6_at + 8) if found.icmp6 == ND_NS or found.icmp6 == ND_NA else 0


cdef inline uint16_t claimed_target(const char *frame, const Inspected *found) noexcept nogil:
    """Offset of a second address that the frame claims to own, else 0.

    That is what is advertised, or looked for from :: because it is about to be used (duplicate address
    detection). An ARP probe claims nothing: receivers do not learn from it.
    """
    if found.icmp6 == ND_NA or (found.icmp6 == ND_NS and claims_unspecified(frame, found)):
        return nd_target(found)
    return 0


cdef inline bint checksum_is_honest(const char *vnet, const Inspected *found) noexcept nogil:
    """Whether the checksum that is still to be written lies behind the addresses that a frame claims.

    Whoever finishes it writes two bytes at csum_start + csum_offset, after all checks: it must be a transport's own.
    In neighbour discovery only its own checksum field will do, as addresses lie behind that.
    """
    cdef uint16_t start, offset
    if not vnet[0] & VNET_NEEDS_CSUM:
        return True
    memcpy(&start, vnet + 6, 2)
    memcpy(&offset, vnet + 8, 2)
    if found.kind != FRAME_IPV4 and found.kind != FRAME_IPV6:
        return False
    if is_nd(found):
        return start == found.icmp6_at and offset == 2
    return start >= found.upper and not found.later


cdef inline bint arp_sender_is(const char *frame, const char *mac) noexcept nogil:
    """Whether the sender hardware address of a FRAME_ARP is `mac`."""
    return memcmp(frame + ARP_SENDER, mac, 6) == 0


# ------------------------------------------------------------------------------------------- one MAC for all

cdef inline void replace_mac(char *place, const char *mac, char *checksum) noexcept nogil:
    """Put a MAC at `place`, and what that changes into a checksum that covers it (RFC 1624), if not NULL."""
    cdef uint32_t sum
    cdef int i
    if checksum != NULL:
        sum = be16(checksum) ^ 0xFFFF
        for i in range(0, 6, 2):
            sum += <uint32_t>(be16(place + i) ^ 0xFFFF) + be16(mac + i)
        sum = (sum & 0xFFFF) + (sum >> 16)
        sum = (sum & 0xFFFF) + (sum >> 16)
        put_be16(checksum, sum ^ 0xFFFF)
    memcpy(place, mac, 6)


cdef inline void set_link_address(char *frame, uint32_t copied, uint32_t length, const Inspected *found,
                                  const char *mac, bint partial) noexcept nogil:
    """Outbound: `mac` becomes the sender's in ARP, and the link-layer address in neighbour discovery's options.

    With a `partial` checksum the field holds only the pseudo header's sum, which this does not change.
    """
    cdef uint32_t at, end
    cdef char *checksum = NULL if partial else frame + found.icmp6_at + 2
    if found.kind == FRAME_ARP:
        replace_mac(frame + ARP_SENDER, mac, NULL)
    if not is_nd(found):
        return
    at, end = nd_options(found), min(copied, length, <uint32_t>(IPV6_END + be16(frame + 18)))
    while at + 8 <= end and frame[at + 1]:
        if (frame[at] == 1 or frame[at] == 2) and frame[at + 1] == 1:
            replace_mac(frame + at + 2, mac, checksum)
        at += 8 * <uint32_t><uint8_t>frame[at + 1]


cdef inline void set_target_link_address(char *frame, const Inspected *found, const char *mac) noexcept nogil:
    """Inbound: `mac` becomes the target's in an ARP reply; a request says nothing about that one."""
    if found.kind == FRAME_ARP and be16(frame + 20) == ARP_REPLY:
        memcpy(frame + ARP_TARGET, mac, 6)


# ------------------------------------------------------------------------------------------- on the wire

cdef inline uint32_t segment_headers(const char *vnet, const char *frame, uint32_t copied, uint32_t length,
                                     uint16_t *gso_size) noexcept nogil:
    """Bytes of Ethernet, IP and transport headers before each segment's part; 0 when there are no segments."""
    cdef uint8_t kind = <uint8_t>vnet[1] & ~<uint8_t>GSO_ECN
    cdef uint16_t start
    cdef uint32_t transport = 8
    memcpy(gso_size, vnet + 4, 2)
    memcpy(&start, vnet + 6, 2)
    if gso_size[0] == 0 or start < IPV4_END or (kind != GSO_TCPV4 and kind != GSO_TCPV6 and kind != GSO_UDP_L4):
        return 0
    if kind != GSO_UDP_L4:
        transport = 20
        if <uint32_t>start + 12 < min(copied, length):
            transport = (<uint8_t>frame[start + 12] >> 4) * 4
            if transport < 20:
                return 0
    return start + transport if start + transport <= length else 0


cdef enum:
    SEGMENTS_MOST = 1024         # 64 KiB in segments of 64 bytes: smaller ones are no program's
    TCP_LEAST = 36               # bytes in a TCP segment: the kernel takes no MSS below 48, options included
    DATAGRAMS_MOST = 128         # that the kernel sends at once (UDP_MAX_SEGMENTS), of any size


cdef inline uint32_t segments_of(const char *vnet, uint32_t length) noexcept nogil:
    """Packets that the kernel cuts a frame into, the headers counted as if they were payload."""
    cdef uint16_t gso_size
    memcpy(&gso_size, vnet + 4, 2)
    return 1 if vnet[1] == 0 or gso_size == 0 else 1 + length // gso_size


cdef inline bint is_shredded(const char *vnet, uint32_t length) noexcept nogil:
    """Whether a super-frame asks for so many segments that cutting it would hold everybody up.

    The kernel cuts 64 KiB into segments of one byte for whoever asks, in the thread that writes the frame: 20 ms.
    """
    cdef uint32_t segments = segments_of(vnet, length)
    cdef uint16_t gso_size
    memcpy(&gso_size, vnet + 4, 2)
    return segments > 1 + SEGMENTS_MOST or (segments > 1 + DATAGRAMS_MOST and gso_size < TCP_LEAST)


cdef inline uint32_t segment_size(const char *vnet, const char *frame, uint32_t copied, uint32_t length) noexcept nogil:
    """IP length of the largest packet that this frame becomes; a header that makes no sense counts as none."""
    cdef uint16_t gso_size
    cdef uint32_t headers = segment_headers(vnet, frame, copied, length, &gso_size)
    cdef uint32_t whole = length - VN_ETH_HDR if length > VN_ETH_HDR else 0
    return whole if headers == 0 else min(whole, headers - <uint32_t>VN_ETH_HDR + gso_size)


cdef inline uint64_t wire_bytes(const char *vnet, const char *frame, uint32_t copied, uint32_t length) noexcept nogil:
    """Bytes that all the packets take that this frame becomes, each with headers of its own."""
    cdef uint16_t gso_size
    cdef uint64_t headers = segment_headers(vnet, frame, copied, length, &gso_size), part
    if headers == 0 or headers == length:
        return length
    part = length - headers
    return part + headers * ((part + gso_size - 1) // gso_size)
