"""The frame inspection for Python: what the tests drive; each call works on a copy of exactly the bytes given."""

from libc.stdint cimport uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

cimport datapath.frame.inspect as frames
from datapath.frame.inspect cimport Inspected
from datapath.frame.segment cimport Segments, join_segments, next_segment, segments_begin
from datapath.frame.segment cimport is_encapsulated as has_tunnel, strip_jumbo as take_jumbo
from datapath.frame.too_big cimport too_big as make_too_big
from abi.abi cimport VN_VNET_HDR

PEEK = frames.PEEK
FRAME_OTHER, FRAME_ARP, FRAME_BAD = frames.FRAME_OTHER, frames.FRAME_ARP, frames.FRAME_BAD
FRAME_IPV4, FRAME_IPV6 = frames.FRAME_IPV4, frames.FRAME_IPV6
ND_RS, ND_RA, ND_NS = frames.ND_RS, frames.ND_RA, frames.ND_NS
ND_NA, ND_REDIRECT = frames.ND_NA, frames.ND_REDIRECT


cdef class Copy:
    """The first bytes of a frame in memory of just their size, so that a sanitizer sees a look beyond them."""

    cdef char *bytes
    cdef uint32_t copied, length
    cdef Inspected found

    def __cinit__(self, const unsigned char[:] frame, length):
        self.copied = <uint32_t>frame.shape[0]
        self.length = self.copied if length is None else length
        self.bytes = <char *>malloc(self.copied)
        if self.bytes == NULL and self.copied:
            raise MemoryError
        if self.copied:
            memcpy(self.bytes, &frame[0], self.copied)
        frames.inspect(self.bytes, self.copied, self.length, &self.found)

    def __dealloc__(self):
        free(self.bytes)


cdef const char *exactly(const unsigned char[:] value, Py_ssize_t size) except NULL:
    if value.shape[0] != size:
        raise ValueError(f"{size} bytes are needed")
    return <const char *>&value[0]


def inspect(frame, length=None):
    """What a frame of `length` bytes is, of which the first are given: the fields of struct Inspected by name."""
    return dict(Copy(frame, length).found)


def claims_unspecified(frame, length=None):
    """Whether the source is 0.0.0.0 or ::."""
    cdef Copy copy = Copy(frame, length)
    return frames.claims_unspecified(copy.bytes, &copy.found) != 0


def claimed_target(frame, length=None):
    """Offset of a second address that the frame claims to own, else 0."""
    cdef Copy copy = Copy(frame, length)
    return frames.claimed_target(copy.bytes, &copy.found)


def nd_target(frame, length=None):
    """Offset of the target address of a neighbour solicitation or advertisement, else 0."""
    cdef Copy copy = Copy(frame, length)
    return frames.nd_target(&copy.found)


def arp_sender_is(frame, mac):
    """Whether it is ARP from the hardware address `mac` (6 bytes)."""
    cdef Copy copy = Copy(frame, None)
    cdef const char *address = exactly(mac, 6)
    return copy.found.kind == frames.FRAME_ARP and frames.arp_sender_is(copy.bytes, address) != 0


def set_link_address(frame, mac, partial=False, length=None):
    """The frame with `mac` as the link address that its sender tells."""
    cdef Copy copy = Copy(frame, length)
    frames.set_link_address(copy.bytes, copy.copied, copy.length, &copy.found, exactly(mac, 6), partial)
    return copy.bytes[: copy.copied]


def set_target_link_address(frame, mac):
    """The frame with `mac` as the target's hardware address when it is an ARP reply."""
    cdef Copy copy = Copy(frame, None)
    frames.set_target_link_address(copy.bytes, &copy.found, exactly(mac, 6))
    return copy.bytes[: copy.copied]


def segment_size(vnet, frame, length=None):
    """IP length of the largest packet that a frame with this vnet header becomes."""
    cdef Copy copy = Copy(frame, length)
    return frames.segment_size(exactly(vnet, VN_VNET_HDR), copy.bytes, copy.copied, copy.length)


def wire_bytes(vnet, frame, length=None):
    """Bytes on the wire of all the packets that a frame with this vnet header becomes."""
    cdef Copy copy = Copy(frame, length)
    return frames.wire_bytes(exactly(vnet, VN_VNET_HDR), copy.bytes, copy.copied, copy.length)


def too_big(frame, mtu, length=None):
    """vnet header and frame that answer a packet which does not fit `mtu`; empty when there must be no answer."""
    cdef Copy copy = Copy(frame, length)
    cdef char *out = <char *>malloc(1500)
    if out == NULL:
        raise MemoryError
    try:
        return out[: make_too_big(out, copy.bytes, copy.copied, copy.length, &copy.found, mtu)]
    finally:
        free(out)


def is_encapsulated(vnet, frame, length=None):
    """Whether the transport of a super-frame of `length` bytes, of which the first are given, is inside of a tunnel."""
    cdef Copy copy = Copy(frame, length)
    return has_tunnel(exactly(vnet, VN_VNET_HDR), copy.bytes, copy.copied, copy.length) != 0


def segments(vnet, frame, leaves_checksum=False, joined=False):
    """[(vnet header, frame)] that a super-frame is cut into; empty when it can't be cut.

    With `joined` they are super-frames themselves, of a packet's length.
    """
    cdef Copy copy = Copy(frame, None)
    cdef Segments cut
    cdef char header[VN_VNET_HDR]
    cdef uint32_t size
    cdef char *out
    if not segments_begin(&cut, exactly(vnet, VN_VNET_HDR), copy.bytes, copy.length, leaves_checksum):
        return []
    if joined:
        join_segments(&cut)
    out = <char *>malloc(copy.length)
    if out == NULL:
        raise MemoryError
    made = []
    try:
        while size := next_segment(&cut, header, out):
            made.append((header[:VN_VNET_HDR], out[:size]))
    finally:
        free(out)
    return made


def strip_jumbo(payload):
    """A vnet header with its frame, without what tells that it is a jumbogram."""
    cdef Copy copy = Copy(payload, None)
    cdef uint32_t shift = take_jumbo(copy.bytes, copy.length)
    return copy.bytes[shift : copy.length]
