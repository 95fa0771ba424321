"""Who has an address: ARP requests and neighbour solicitations for a port's address, told and answered here.

The directory says whose an address is. So a request for it, which is a broadcast, need not reach every port, nor wake
the hosting daemon for each of them: in a mesh of N that would be N^3 copies. Where each port may use its own addresses
only (VN_GUARD), the answer is written here. Elsewhere somebody may have moved an address by hand, so the request goes
to the port that should have it, and as a broadcast when it is repeated because that one has not answered. So does one
of the machine in any case: its MAC, which is the NIC's, may change, and who is asked learns of that by the question.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from abi.abi cimport *
from datapath.frame.address_table cimport port_of_address
from datapath.frame.inspect cimport *
from datapath.frame.too_big cimport folded, sum_words
from datapath.state.state cimport *

cdef enum:
    ARP_ANSWER = VN_VNET_HDR + 42
    ND_ANSWER = VN_VNET_HDR + VN_ETH_HDR + 40 + 32
    NEIGHBOUR_ANSWER = ND_ANSWER
    SOUGHT_NS = 5_000_000_000    # a port that was asked alone is not for so long: a second question is for all
    ND_SOLICITED = 0x40
    ND_OVERRIDE = 0x20


cdef inline bint is_request(const char *frame, const Inspected *found) noexcept nogil:
    """Whether somebody asks who has an address that is not his own; an announcement has the form of a request, too."""
    if found.kind == FRAME_ARP:
        return be16(frame + 20) == 1 and memcmp(frame + found.source, frame + found.target, 4) != 0
    return found.icmp6 == ND_NS


cdef inline uint16_t sought_port(const Engine *e, const char *frame, const Inspected *found) noexcept nogil:
    """The running port whose address a broadcast asks for, if it is another's; else NO_PORT."""
    cdef uint16_t at, port
    if not is_request(frame, found):
        return NO_PORT
    at = nd_target(found) if found.kind == FRAME_IPV6 else found.target
    port = port_of_address(e, frame + at, 6 if found.kind == FRAME_IPV6 else 4)
    if port == NO_PORT or port == e.port or e.port_state[port] != VN_PORT_LIVE:
        return NO_PORT
    return port


cdef inline bint may_ask_alone(Engine *e, uint16_t holder, const char *frame, const Inspected *found) noexcept nogil:
    """Whether a question is for the holder of the address alone, where addresses may have moved.

    A second question soon after is for all, and so is one that looks for duplicates: somebody else may have it, too.
    """
    cdef uint64_t *sought = &e.sought[holder][found.kind == FRAME_IPV6]
    if claims_unspecified(frame, found) or (sought[0] and e.now - sought[0] <= SOUGHT_NS):
        return False
    sought[0] = e.now
    return True


cdef inline uint32_t arp_answer(char *out, const char *frame, const char *mac) noexcept nogil:
    cdef char *answer = out + VN_VNET_HDR
    memcpy(answer, frame + ARP_SENDER, 6)
    memcpy(answer + 6, mac, 6)
    memcpy(answer + 12, frame + 12, 8)
    put_be16(answer + 20, ARP_REPLY)
    memcpy(answer + ARP_SENDER, mac, 6)
    memcpy(answer + 28, frame + 38, 4)
    memcpy(answer + ARP_TARGET, frame + ARP_SENDER, 10)
    return ARP_ANSWER


cdef inline uint32_t nd_answer(char *out, const char *frame, const Inspected *found, const char *mac) noexcept nogil:
    """A neighbour advertisement; to all nodes when the question came from :: (RFC 4861, 7.2.4)."""
    cdef char *answer = out + VN_VNET_HDR
    cdef char *ip = answer + VN_ETH_HDR
    cdef char *icmp = ip + 40
    cdef bint unspecified = claims_unspecified(frame, found)
    memcpy(answer, frame + 6, 6)
    memcpy(answer + 6, mac, 6)
    memcpy(answer + 12, frame + 12, 2)
    memset(ip, 0, 40 + 32)
    ip[0] = 0x60
    put_be16(ip + 4, 32)
    ip[6], ip[7] = ICMPV6, <char>255
    memcpy(ip + 8, frame + nd_target(found), 16)
    memcpy(ip + 24, frame + found.source, 16)
    if unspecified:
        ip[24], ip[25], ip[39] = <char>0xFF, 2, 1
        memset(answer, 0, 6)
        answer[0], answer[1], answer[5] = 0x33, 0x33, 1
    icmp[0] = <char>ND_NA
    icmp[4] = ND_OVERRIDE if unspecified else ND_OVERRIDE | ND_SOLICITED
    memcpy(icmp + 8, frame + nd_target(found), 16)
    icmp[24], icmp[25] = 2, 1    # target link-layer address
    memcpy(icmp + 26, mac, 6)
    put_be16(icmp + 2, folded(sum_words(ip + 8, 32 + 32, 32 + ICMPV6)))
    return ND_ANSWER


cdef inline uint32_t neighbour_answer(char *out, const char *frame, const Inspected *found, const char *mac) noexcept nogil:
    """Write vnet header and frame that tell who asks that `mac` has the address; `out` has NEIGHBOUR_ANSWER bytes.

    Returns the length of both. The frame is a request, as is_request() says.
    """
    memset(out, 0, VN_VNET_HDR)
    return arp_answer(out, frame, mac) if found.kind == FRAME_ARP else nd_answer(out, frame, found, mac)
