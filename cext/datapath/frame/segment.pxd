"""Cutting a super-frame into the frames that it stands for, as the kernel does for a NIC that can't.

Theory of operation. A super-frame is one set of headers before more payload than a segment may have (gso_size). Each
segment has a copy of all headers, in which these differ: the length, identification and checksum of each IP header,
UDP's length and checksum, and TCP's sequence number, flags and checksum. In a tunnel the innermost transport is the
one that is cut. What stands between the outer transport and the inner IP header (VXLAN, Geneve or GRE, Ethernet, a
VLAN tag) is the same in each segment, so nobody has to know what it is: the inner IP header is found from behind,
as it ends where the checksum begins, and says so by its own length.

BIG TCP. A super-frame may be longer than a record, and than IP's length field tells. It is cut into pieces of several
segments each, which are super-frames themselves (join_segments), after what IPv6 has for its length was taken out
(strip_jumbo).

segments_begin() does all the checking of the frame, which nobody may change until the last segment is made. Nothing
here knows where frames come from or go to.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memcpy, memmove, memset

from abi.abi cimport *
from datapath.frame.checksum cimport *
from datapath.frame.inspect cimport *

cdef enum:
    IPIP = 4                     # protocols of IP that a tunnel may have; UDP is VXLAN, Geneve and the like
    TCP = 6
    UDP = 17
    IPV6_IN_IP = 41
    GRE = 47
    GRE_CHECKSUM = 0x8000
    GRE_UNKNOWN = 0x1007         # a sequence number, or another version: each segment would need one of its own
    TCP_FLAGS = 13               # offsets in the header
    TCP_CHECK = 16
    UDP_CHECK = 6
    LAST_ONLY = 0x09             # FIN, PSH
    FIRST_ONLY = 0x80            # CWR
    IP_MOST = 0xFFFF             # bytes of a packet that its length field can tell
    JUMBO = 8                    # bytes of a hop-by-hop header with a jumbo payload option (RFC 2675) alone


cdef struct Segments:            # of one super-frame, in the order in which next_segment() makes them
    const char *frame
    bint leaves_checksum         # the innermost transport's is left partial, for whoever receives the segments
    uint16_t upper               # offset of what follows the outer IP header
    bint in_udp                  # it is UDP, before a tunnel's header
    uint16_t tunnel_check        # offset of the outer transport's checksum, 0 for none
    uint16_t inner               # offset of the inner IP header, 0 without a tunnel
    uint16_t transport           # offset of the header of the transport that is cut
    uint16_t check               # offset of its checksum
    uint16_t gso_size
    uint32_t joined              # segments in a piece; if more than one, the piece is a super-frame
    uint8_t kind                 # of super-frame, for its vnet header
    uint32_t headers             # bytes before the payload
    uint32_t at                  # offset of the next segment's payload
    uint32_t length              # of the super-frame
    uint32_t number              # of the next piece's first segment
    uint32_t pseudo              # sum of the transport's pseudo header without its length
    uint32_t tunnel_pseudo


# ---------------------------------------------------------------------------------------------- what is to be cut

cdef inline bint is_encapsulated(const char *vnet, const char *frame, uint32_t seen, uint32_t length) noexcept nogil:
    """Whether the transport of a super-frame is inside of a tunnel, of which a vnet header says nothing.

    Of its `length` bytes `seen` are at hand: all of them, or at least PEEK.
    """
    cdef Inspected found
    if vnet[1] == 0 or not vnet[0] & VNET_NEEDS_CSUM:
        return False
    inspect(frame, seen, length, &found)
    return (found.kind == FRAME_IPV4 or found.kind == FRAME_IPV6) and be16_host(vnet + 6) != found.upper


cdef inline bint ends_here(const char *ip, uint32_t header, uint32_t rest, uint8_t protocol) noexcept nogil:
    """Whether this is an IP header of that many bytes, with `rest` bytes of that protocol behind it."""
    if header == 40 and (<uint8_t>ip[0] >> 4) == 6:
        return <uint8_t>ip[6] == protocol and be16(ip + 4) == rest
    return <uint8_t>ip[0] == (0x40 | header >> 2) and <uint8_t>ip[9] == protocol and be16(ip + 2) == header + rest


cdef inline uint16_t inner_header(const Segments *s, uint32_t begin, uint8_t protocol) noexcept nogil:
    """Offset of the IP header that ends at the transport, not before `begin`; 0 when there is none."""
    cdef uint32_t header
    for header in range(20, 64, 4):
        if begin + header <= s.transport:
            if ends_here(s.frame + s.transport - header, header, s.length - s.transport, protocol):
                return <uint16_t>(s.transport - header)
    return 0


cdef inline bint open_tunnel(Segments *s, uint8_t outer, uint8_t protocol) noexcept nogil:
    """Find what is to be changed of a tunnel with that outer protocol; False when that is not known."""
    cdef const char *header = s.frame + s.upper
    cdef uint32_t begin = s.upper, old = s.length - s.upper
    s.in_udp = outer == UDP
    if outer == UDP:
        begin += 8
    elif outer == GRE:
        begin += 4
    elif outer != IPIP and outer != IPV6_IN_IP:
        return False
    if begin > s.transport or (s.transport - s.upper) & 1:
        return False
    if outer == UDP and be16(header + UDP_CHECK):
        s.tunnel_check = s.upper + UDP_CHECK
        s.tunnel_pseudo = be16(header + UDP_CHECK) + folded(old)  # it held the sum of the whole
    elif outer == GRE and be16(header) & GRE_UNKNOWN:
        return False
    elif outer == GRE and be16(header) & GRE_CHECKSUM:
        s.tunnel_check, begin = s.upper + 4, begin + 4
    s.inner = inner_header(s, begin, protocol)
    return s.inner != 0


cdef inline bint find_transport(Segments *s, const char *vnet, const Inspected *found, uint8_t protocol) noexcept nogil:
    """Find the transport that is cut, its checksum's pseudo header and the end of all headers."""
    cdef bint is_partial = vnet[0] & VNET_NEEDS_CSUM
    cdef uint32_t offset = TCP_CHECK if protocol == TCP else UDP_CHECK, size = 20 if protocol == TCP else 8
    s.upper = found.upper
    s.transport = be16_host(vnet + 6) if is_partial else found.upper
    if s.transport < s.upper or s.transport + size > s.length or (is_partial and be16_host(vnet + 8) != offset):
        return False
    if s.transport + offset > 0xFFFF:
        return False
    s.check = <uint16_t>(s.transport + offset)
    if protocol == TCP:
        size = (<uint8_t>s.frame[s.transport + 12] >> 4) * 4
        if size < 20:
            return False
    s.headers = s.at = s.transport + size
    if is_partial:
        s.pseudo = be16(s.frame + s.check) + folded(s.length - s.transport)
    else:
        size = 8 if found.kind == FRAME_IPV4 else 32
        s.pseudo = sum_words(s.frame + found.source, size, protocol)
    return s.headers <= s.length


cdef inline bint segments_begin(Segments *s, const char *vnet, const char *frame, uint32_t length,
                                bint leaves_checksum) noexcept nogil:
    """Begin to cut a super-frame; False when it is none that can be cut, or would become too many.

    TCP over IPv4 or IPv6 and UDP are cut, plain or in one tunnel. With `leaves_checksum` the checksum of what was cut
    is left to the receiver of the segments' vnet headers, which spares a look at the payload.
    """
    cdef Inspected found
    cdef uint8_t kind = <uint8_t>vnet[1] & ~<uint8_t>GSO_ECN, protocol = UDP if kind == GSO_UDP_L4 else TCP
    memset(s, 0, sizeof(Segments))
    s.frame, s.length, s.gso_size, s.leaves_checksum = frame, length, be16_host(vnet + 4), leaves_checksum
    s.joined, s.kind = 1, <uint8_t>vnet[1]
    if (kind != GSO_UDP_L4 and kind != GSO_TCPV4 and kind != GSO_TCPV6) or s.gso_size == 0 or is_shredded(vnet, length):
        return False
    inspect(frame, length, length, &found)
    if (found.kind != FRAME_IPV4 and found.kind != FRAME_IPV6) or found.later:
        return False
    if not find_transport(s, vnet, &found, protocol):
        return False
    if s.transport != s.upper and not open_tunnel(s, found.protocol, protocol):
        return False
    if s.inner == 0 and found.protocol != protocol:
        return False
    if min(length, s.headers + s.gso_size) > IP_MOST + VN_ETH_HDR:
        return False
    return kind == GSO_UDP_L4 or (kind == GSO_TCPV6) == ((<uint8_t>frame[s.inner or VN_ETH_HDR] >> 4) == 6)


cdef inline void join_segments(Segments *s) noexcept nogil:
    """Cut it into super-frames as long as IP's length field can tell. Only without a tunnel, with a checksum left."""
    cdef uint32_t fitting = (IP_MOST + VN_ETH_HDR - s.headers) // s.gso_size
    if fitting > 1:
        s.joined = fitting


cdef inline uint32_t strip_jumbo(char *payload, uint32_t length) noexcept nogil:
    """Take out what tells the length of an IPv6 packet that is longer than its own field can tell.

    `payload` is a vnet header with its frame, `length` bytes; it begins that many bytes later now. The length field
    holds its most, so that inspect() looks at what follows.
    """
    cdef char *frame = payload + VN_VNET_HDR
    cdef char *option = frame + IPV6_END
    cdef uint16_t start
    cdef uint32_t shift = 0
    if length < VN_VNET_HDR + IPV6_END + JUMBO or be16(frame + 12) != 0x86DD or be16(frame + 18):
        return 0
    if frame[20] == 0 and option[1] == 0 and <uint8_t>option[2] == 0xC2 and option[3] == 4:
        start = be16_host(payload + 6)
        if start < IPV6_END + JUMBO:
            return 0
        start -= JUMBO
        memcpy(payload + 6, &start, 2)
        frame[20] = option[0]
        memmove(payload + JUMBO, payload, VN_VNET_HDR + IPV6_END)
        shift = JUMBO
    put_be16(frame + shift + 18, IP_MOST)
    return shift


# ------------------------------------------------------------------------------------------------- one segment

cdef inline void write_ip(char *ip, uint32_t length, uint32_t number) noexcept nogil:
    """Make an IP header that of the segment of that number, `length` bytes long from there on."""
    cdef uint32_t header = (<uint8_t>ip[0] & 15) * 4
    if (<uint8_t>ip[0] >> 4) == 6:
        put_be16(ip + 4, length - 40)
        return
    put_be16(ip + 2, length)
    put_be16(ip + 4, be16(ip + 4) + number)
    put_be16(ip + 10, 0)
    put_be16(ip + 10, folded(sum_words(ip, header, 0)))


cdef inline void write_tcp(char *tcp, uint32_t advance, bint is_first, bint is_last) noexcept nogil:
    """Move a TCP header on by `advance` bytes of its stream."""
    cdef uint32_t low = be16(tcp + 6) + (advance & 0xFFFF)
    put_be16(tcp + 4, be16(tcp + 4) + (advance >> 16) + (low >> 16))
    put_be16(tcp + 6, low)
    if not is_last:
        tcp[TCP_FLAGS] &= ~<uint8_t>LAST_ONLY
    if not is_first:
        tcp[TCP_FLAGS] &= ~<uint8_t>FIRST_ONLY


cdef inline void put_checksum(char *place, uint32_t sum, bint never_zero) noexcept nogil:
    """Write the checksum of a sum; in UDP a zero would say that there is none."""
    cdef uint32_t value = folded(sum)
    put_be16(place, 0xFFFF if never_zero and value == 0 else value)


cdef inline void write_checksums(const Segments *s, char *frame, uint32_t size) noexcept nogil:
    """The transport's, and the tunnel's around it: with its checksum, a transport adds up to its pseudo header's."""
    cdef uint32_t pseudo = s.pseudo + (size - s.transport), sum
    if s.leaves_checksum:
        put_be16(frame + s.check, folded(pseudo) ^ 0xFFFF)
    else:
        put_be16(frame + s.check, 0)
        sum = sum_words(frame + s.transport, size - s.transport, pseudo)
        put_checksum(frame + s.check, sum, s.check - s.transport == UDP_CHECK)
    if s.tunnel_check:
        put_be16(frame + s.tunnel_check, 0)
        sum = sum_words(frame + s.upper, s.transport - s.upper, folded(pseudo))
        if s.in_udp:
            sum += s.tunnel_pseudo + (size - s.upper)
        put_checksum(frame + s.tunnel_check, sum, s.in_udp)


cdef inline void write_vnet(const Segments *s, char *vnet, uint32_t part) noexcept nogil:
    """The vnet header of a piece with that many bytes of payload."""
    cdef uint16_t offset = s.check - s.transport, headers = <uint16_t>s.headers
    memset(vnet, 0, VN_VNET_HDR)
    if not s.leaves_checksum:
        return
    vnet[0] = VNET_NEEDS_CSUM
    memcpy(vnet + 6, &s.transport, 2)
    memcpy(vnet + 8, &offset, 2)
    if part > s.gso_size:
        vnet[1] = <char>s.kind
        memcpy(vnet + 2, &headers, 2)
        memcpy(vnet + 4, &s.gso_size, 2)


cdef inline uint32_t next_segment(Segments *s, char *vnet, char *frame) noexcept nogil:
    """Write the next segment, or piece, and its vnet header; return its length without that, 0 when none is left.

    It is never longer than the super-frame.
    """
    cdef uint32_t part = min(s.joined * s.gso_size, s.length - s.at), size = s.headers + part
    cdef bint is_last = s.at + part == s.length
    if s.number and s.at == s.length:
        return 0
    memcpy(frame, s.frame, s.headers)
    memcpy(frame + s.headers, s.frame + s.at, part)
    write_ip(frame + VN_ETH_HDR, size - VN_ETH_HDR, s.number)
    if s.inner:
        write_ip(frame + s.inner, size - s.inner, s.number)
        if s.in_udp:
            put_be16(frame + s.upper + 4, size - s.upper)
    if s.check - s.transport == TCP_CHECK:
        write_tcp(frame + s.transport, s.at - s.headers, s.number == 0, is_last)
    else:
        put_be16(frame + s.transport + 4, size - s.transport)
    write_checksums(s, frame, size)
    write_vnet(s, vnet, part)
    s.at += part
    s.number += s.joined
    return size
