"""IP addresses: the table of whose they are, built from the directory, and what a port may claim.

Where the directory says VN_GUARD, a port may send only from its own addresses: those of its entry and the
link-local one that follows from its MAC. Its own daemon sees to that for all that it sends. As that may have been
taken over, the hosting daemon sees to it once more for what comes by it, and each receiver for what comes by a direct
link. Neighbour discovery and ARP claim addresses too, and are judged alike.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from datapath.state.state cimport *
from datapath.frame.inspect cimport *
from abi.abi cimport *

cdef enum:
    LEAST_SLOTS = 64


cdef inline int address_bytes(uint8_t family) noexcept nogil:
    return 4 if family == 4 else 16


cdef inline uint32_t address_slot(uint32_t size, const char *bytes, uint8_t family) noexcept nogil:
    cdef uint64_t low = 0
    memcpy(&low, bytes + (0 if family == 4 else 8), 4 if family == 4 else 8)
    return <uint32_t>((low * <uint64_t>0x9E3779B97F4A7C15) >> 40) & (size - 1)


cdef inline uint16_t port_of_address(const Engine *e, const char *bytes, uint8_t family) noexcept nogil:
    """Whose address this is, or NO_PORT."""
    cdef const Addresses *table = &e.addresses
    cdef uint32_t i
    if table.size == 0:
        return NO_PORT
    i = address_slot(table.size, bytes, family)
    while table.slots[i].family:
        if table.slots[i].family == family and memcmp(table.slots[i].bytes, bytes, address_bytes(family)) == 0:
            return table.slots[i].port
        i = (i + 1) & (table.size - 1)
    return NO_PORT


cdef inline void learn_address(Addresses *table, const char *bytes, uint8_t family, uint16_t port) noexcept nogil:
    """Enter an address into the spare table."""
    cdef uint32_t i
    if (family != 4 and family != 6) or 2 * table.spare_used >= table.spare_size:
        return
    table.spare_used += 1
    i = address_slot(table.spare_size, bytes, family)
    while table.spare[i].family:
        i = (i + 1) & (table.spare_size - 1)
    table.spare[i].family, table.spare[i].port = family, port
    memcpy(table.spare[i].bytes, bytes, address_bytes(family))


cdef inline void link_local(const char *mac, char *address) noexcept nogil:
    """The link-local IPv6 address that the kernel makes of a MAC (EUI-64)."""
    memset(address, 0, 16)
    address[0], address[1] = <char>0xFE, <char>0x80
    memcpy(address + 8, mac, 3)
    address[8] ^= 2
    address[11], address[12] = <char>0xFF, <char>0xFE
    memcpy(address + 13, mac + 3, 3)


cdef inline void learn_port(Engine *e, const vn_directory_entry *entry, uint16_t port) noexcept nogil:
    """Enter all addresses of a port into the spare table."""
    cdef char local[16]
    cdef int i, n = entry.address_count
    link_local(<const char *>entry.mac, local)
    learn_address(&e.addresses, local, 6, port)
    for i in range(n if n < VN_MAX_ADDRESSES else VN_MAX_ADDRESSES):
        learn_address(&e.addresses, <const char *>entry.addresses[i].bytes, entry.addresses[i].family, port)


cdef inline void read_addresses(Engine *e) noexcept nogil:
    """Build the spare table from the directory, of all ports. That may change meanwhile: the table does not overflow."""
    cdef const vn_directory *d = e.directory
    cdef uint32_t wanted = 0
    cdef int port
    for port in range(VN_MAX_PORTS):
        if d.entries[port].state != VN_PORT_FREE:
            wanted += 1 + min(<uint32_t>d.entries[port].address_count, <uint32_t>VN_MAX_ADDRESSES)
    e.addresses.spare_size, e.addresses.spare_used = LEAST_SLOTS, 0
    while e.addresses.spare_size < 4 * wanted and e.addresses.spare_size < e.addresses.most:
        e.addresses.spare_size *= 2
    memset(e.addresses.spare, 0, e.addresses.spare_size * sizeof(AddressSlot))
    for port in range(VN_MAX_PORTS):
        if d.entries[port].state != VN_PORT_FREE:
            learn_port(e, &d.entries[port], <uint16_t>port)


cdef inline void swap_addresses(Engine *e) noexcept nogil:
    e.addresses.slots, e.addresses.spare = e.addresses.spare, e.addresses.slots
    e.addresses.size = e.addresses.spare_size


cdef inline uint8_t family_of(const Inspected *found) noexcept nogil:
    return 6 if found.kind == FRAME_IPV6 else 4


cdef inline bint is_honest(const Engine *e, uint16_t port, const char *vnet, const char *frame, uint32_t copied, uint32_t length) noexcept nogil:
    """Whether all addresses that a frame claims are the port's own; `vnet` and `frame` are our copy of its beginning.

    What is neither IP nor ARP can't be judged (it may carry either in another encapsulation), and is refused.
    """
    cdef Inspected found
    cdef uint16_t claimed
    inspect(frame, copied, length, &found)
    if found.kind == FRAME_OTHER or not checksum_is_honest(vnet, &found):
        return False
    if found.kind == FRAME_BAD or found.icmp6 == ND_RA or found.icmp6 == ND_REDIRECT:
        return False  # a partition is nobody's router
    if found.kind == FRAME_ARP and not arp_sender_is(frame, frame + 6):
        return False
    if not claims_unspecified(frame, &found) and port_of_address(e, frame + found.source, family_of(&found)) != port:
        return False
    claimed = claimed_target(frame, &found)
    return claimed == 0 or port_of_address(e, frame + claimed, 6) == port
