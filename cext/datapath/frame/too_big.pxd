"""The answer to a packet that the path can't take: ICMP "fragmentation needed", ICMPv6 "packet too big".

A switch has no address of its own, so the answer comes from the packet's own destination, as the kernel's
tunnels do it (iptunnel_pmtud_build_icmp). RFC 1122 and RFC 4443 say what must not be answered.
"""

from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy, memset

from datapath.frame.checksum cimport *
from datapath.frame.inspect cimport *
from abi.abi cimport *

cdef enum:
    ANSWER_IPV4_MAX = 576        # bytes of the whole answer, from its IP header on
    ANSWER_IPV6_MAX = 1280
    ICMP_HEADER = 8


cdef inline bint one_host4(const char *address) noexcept nogil:
    """Not of this network, loopback, multicast, reserved or broadcast."""
    cdef uint8_t first = <uint8_t>address[0]
    return first != 0 and first != 127 and first < 224


cdef inline bint one_host6(const char *address) noexcept nogil:
    """Not multicast, :: or ::1."""
    cdef int i
    if <uint8_t>address[0] == 0xFF:
        return False
    for i in range(15):
        if address[i]:
            return True
    return <uint8_t>address[15] > 1


cdef inline bint icmp_error(const char *frame, uint32_t copied, const Inspected *found) noexcept nogil:
    """Whether it is an error message, or one of unknown kind; a lost error must not make another."""
    cdef uint32_t at
    cdef uint8_t kind
    if found.kind == FRAME_IPV6:
        return found.protocol == ICMPV6 and found.icmp6 < 128
    if found.protocol != ICMP:
        return False
    at = VN_ETH_HDR + (<uint8_t>frame[14] & 15) * 4
    kind = <uint8_t>frame[at] if at < copied else 255
    return kind != 0 and kind != 8 and (kind < 13 or kind > 18)


cdef inline bint may_answer(const char *frame, uint32_t copied, const Inspected *found) noexcept nogil:
    """Whether it is IP from one host to one host, by MAC and by address, and neither half a packet nor an error."""
    if found.kind != FRAME_IPV4 and found.kind != FRAME_IPV6:
        return False
    if (frame[0] | frame[6]) & 1 or found.later or icmp_error(frame, copied, found):
        return False
    if found.kind == FRAME_IPV4:
        return one_host4(frame + found.source) and one_host4(frame + found.target)
    return one_host6(frame + found.source) and one_host6(frame + found.target)


cdef inline uint32_t answer4(char *ip, const char *frame, uint32_t copied, uint32_t mtu) noexcept nogil:
    """Write the IPv4 packet and return its length; 0 when there is too little to quote."""
    cdef uint32_t quote = min(copied - VN_ETH_HDR, <uint32_t>(ANSWER_IPV4_MAX - 20 - ICMP_HEADER))
    cdef char *icmp = ip + 20
    if quote < <uint32_t>(<uint8_t>frame[14] & 15) * 4 + 8:
        return 0
    memset(ip, 0, 20 + ICMP_HEADER)
    ip[0] = 0x45
    put_be16(ip + 2, 20 + ICMP_HEADER + quote)
    put_be16(ip + 6, 0x4000)     # DF
    ip[8], ip[9] = 64, ICMP
    memcpy(ip + 12, frame + 30, 4)
    memcpy(ip + 16, frame + 26, 4)
    put_be16(ip + 10, folded(sum_words(ip, 20, 0)))
    icmp[0], icmp[1] = 3, 4
    put_be16(icmp + 6, min(mtu, <uint32_t>0xFFFF))
    memcpy(icmp + ICMP_HEADER, frame + VN_ETH_HDR, quote)
    put_be16(icmp + 2, folded(sum_words(icmp, ICMP_HEADER + quote, 0)))
    return 20 + ICMP_HEADER + quote


cdef inline uint32_t answer6(char *ip, const char *frame, uint32_t copied, uint32_t mtu) noexcept nogil:
    """Write the IPv6 packet and return its length; 0 when there is too little to quote."""
    cdef uint32_t quote = min(copied - VN_ETH_HDR, <uint32_t>(ANSWER_IPV6_MAX - 40 - ICMP_HEADER)), sum
    cdef char *icmp = ip + 40
    if quote < 40 + 8:
        return 0
    memset(ip, 0, 40 + ICMP_HEADER)
    ip[0] = 0x60
    put_be16(ip + 4, ICMP_HEADER + quote)
    ip[6], ip[7] = ICMPV6, 64
    memcpy(ip + 8, frame + 38, 16)
    memcpy(ip + 24, frame + 22, 16)
    icmp[0] = 2
    put_be16(icmp + 4, mtu >> 16)
    put_be16(icmp + 6, mtu & 0xFFFF)
    memcpy(icmp + ICMP_HEADER, frame + VN_ETH_HDR, quote)
    sum = sum_words(ip + 8, 32, ICMP_HEADER + quote + ICMPV6)  # the pseudo header
    put_be16(icmp + 2, folded(sum_words(icmp, ICMP_HEADER + quote, sum)))
    return 40 + ICMP_HEADER + quote


cdef inline uint32_t too_big(char *out, const char *frame, uint32_t copied, uint32_t length, const Inspected *found,
                             uint32_t mtu) noexcept nogil:
    """Write vnet header and frame that tell the sender that the path takes only `mtu` bytes; `out` has 1500 bytes.

    Returns the length of both, 0 when no answer may be sent. Also an IPv4 packet that could be fragmented is
    answered, as a switch does not do that.
    """
    cdef char *answer = out + VN_VNET_HDR
    cdef uint32_t size
    copied = min(copied, length)
    if not may_answer(frame, copied, found):
        return 0
    if found.kind == FRAME_IPV4:
        size = answer4(answer + VN_ETH_HDR, frame, copied, mtu)
    else:
        size = answer6(answer + VN_ETH_HDR, frame, copied, mtu)
    if size == 0:
        return 0
    memset(out, 0, VN_VNET_HDR)
    memcpy(answer, frame + 6, 6)
    memcpy(answer + 6, frame, 6)
    memcpy(answer + 12, frame + 12, 2)
    return VN_VNET_HDR + VN_ETH_HDR + size
