"""MAC addresses: the table that the loop builds from the directory, and what a destination means."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from datapath.frame.address_table cimport read_addresses, swap_addresses
from datapath.state.state cimport *
from abi.abi cimport *


cdef inline uint64_t mac_at(const char *p) noexcept nogil:
    """Six octets as a number, the first octet lowest."""
    cdef uint64_t value = 0
    memcpy(&value, p, 6)
    return value


cdef inline bint is_group(const char *mac) noexcept nogil:
    return mac[0] & 1


cdef inline bint is_reserved(const char *mac) noexcept nogil:
    """01:80:c2:00:00:00 to 0f, which a bridge never forwards (IEEE 802.1D)."""
    return (mac[0] == 1 and <uint8_t>mac[1] == 0x80 and <uint8_t>mac[2] == 0xC2 and mac[3] == 0 and mac[4] == 0
            and (<uint8_t>mac[5] & 0xF0) == 0)


cdef inline uint32_t slot_of(uint64_t mac) noexcept nogil:
    return <uint32_t>((mac * <uint64_t>0x9E3779B97F4A7C15) >> 54) & (TABLE_SIZE - 1)


cdef inline uint16_t port_of(const Engine *e, uint64_t mac) noexcept nogil:
    """The port with this MAC, or NO_PORT. At most a quarter of the table is in use, so the walk is short."""
    cdef uint32_t i = slot_of(mac)
    while e.table[i].mac:
        if e.table[i].mac == mac:
            return e.table[i].port
        i = (i + 1) & (TABLE_SIZE - 1)
    return NO_PORT


cdef inline void learn(Engine *e, uint64_t mac, uint16_t port) noexcept nogil:
    cdef uint32_t i = slot_of(mac)
    if mac == 0:
        return
    while e.table[i].mac and e.table[i].mac != mac:
        i = (i + 1) & (TABLE_SIZE - 1)
    e.table[i].mac = mac
    e.table[i].port = port


cdef inline void read_directory(Engine *e) noexcept nogil:
    """Build the table anew when the directory has changed; a half-written one is left for the next round."""
    cdef const vn_directory *d = e.directory
    cdef uint64_t change
    cdef uint64_t macs[VN_MAX_PORTS]
    cdef uint8_t states[VN_MAX_PORTS]
    cdef uint32_t queues[VN_MAX_PORTS]
    cdef uint32_t flags
    cdef int port
    if d == NULL:
        return
    change = vn_load_acquire(&d.change)
    if change == e.directory_change or change & 1:
        return
    for port in range(VN_MAX_PORTS):
        macs[port] = mac_at(<const char *>d.entries[port].mac)
        states[port] = d.entries[port].state
        queues[port] = d.entries[port].queue_ms
    flags = d.flags
    read_addresses(e)
    vn_fence()
    if vn_load_acquire(&d.change) != change:
        return
    e.flags = flags
    swap_addresses(e)
    memset(e.table, 0, sizeof(e.table))
    for port in range(VN_MAX_PORTS):
        e.port_mac[port] = macs[port] if states[port] != VN_PORT_FREE else 0
        e.port_state[port] = states[port]
        e.queue_ns[port] = <uint64_t>queues[port] * 1_000_000
        learn(e, e.port_mac[port], <uint16_t>port)
    e.mac = e.port_mac[e.port]
    e.directory_change = change
