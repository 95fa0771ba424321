"""The Internet checksum (RFC 1071): sums of bytes, and what is written into a header."""

from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from datapath.frame.inspect cimport be16


cdef inline uint32_t sum_words(const char *p, uint32_t n, uint32_t sum) noexcept nogil:
    """Add n bytes to a checksum that is not folded yet.

    The bytes are added in the machine's order, eight at a time, as that only swaps the bytes of the sum (RFC 1071).
    """
    cdef uint64_t total = 0, word
    cdef uint16_t short
    cdef uint32_t i, whole = n & ~<uint32_t>7
    for i in range(0, whole, 8):
        memcpy(&word, p + i, 8)
        total += word
        total += total < word
    if n > whole:
        word = 0
        memcpy(&word, p + whole, n - whole)
        total += word
        total += total < word
    total = <uint32_t>total + (total >> 32)
    total = (total & 0xFFFF) + (total >> 16 & 0xFFFF) + (total >> 32)
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    short = <uint16_t>total
    return sum + be16(<const char *>&short)


cdef inline uint32_t folded(uint32_t sum) noexcept nogil:
    """The Internet checksum of a sum."""
    sum = (sum & 0xFFFF) + (sum >> 16)
    sum = (sum & 0xFFFF) + (sum >> 16)
    return sum ^ 0xFFFF
