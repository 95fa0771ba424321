"""The Internet checksum (RFC 1071): sums of bytes, and what is written into a header."""

from libc.stdint cimport uint8_t, uint32_t

from datapath.frame.inspect cimport be16


cdef inline uint32_t sum_words(const char *p, uint32_t n, uint32_t sum) noexcept nogil:
    """Add n bytes, 64 KiB at most, to a checksum that is not folded yet."""
    cdef uint32_t i
    for i in range(0, n & ~<uint32_t>1, 2):
        sum += be16(p + i)
    return sum + (<uint32_t><uint8_t>p[n - 1] << 8) if n & 1 else sum


cdef inline uint32_t folded(uint32_t sum) noexcept nogil:
    """The Internet checksum of a sum."""
    sum = (sum & 0xFFFF) + (sum >> 16)
    sum = (sum & 0xFFFF) + (sum >> 16)
    return sum ^ 0xFFFF
