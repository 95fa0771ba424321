"""The directory of a fabric: port, generation, MAC, state and addresses, written by the hosting daemon only."""

from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy, memset

from abi.abi cimport *

import ipaddress

from vnicd.native import memory

FREE, LIVE, DOWN = VN_PORT_FREE, VN_PORT_LIVE, VN_PORT_DOWN
UPLINK, GUARD = VN_UPLINK, VN_GUARD
MAX_PORTS = VN_MAX_PORTS
MAX_ADDRESSES = VN_MAX_ADDRESSES
SIZE = sizeof(vn_directory)


cdef class Writer:
    """The hosting daemon's hand on the directory; `region` is what the others map."""

    cdef readonly object region
    cdef vn_directory *d

    def __cinit__(self):
        self.region = memory.create(sizeof(vn_directory), name="vnicd-directory")
        self.d = <vn_directory *><size_t>self.region.address
        self.d.magic, self.d.version, self.d.entry_count = VN_DIRECTORY_MAGIC, VN_VERSION, VN_MAX_PORTS

    def put(self, int port, int state, str mac, int generation, int mtu, addresses, uint32_t queue_ms=0):
        """Write one port's entry; readers see it whole. `addresses` are CIDR texts, VN_MAX_ADDRESSES at most.

        `queue_ms` is how long what the port sends by relay may wait for its rate limit.
        """
        cdef vn_directory_entry entry
        cdef vn_address *address
        if not 0 <= port < VN_MAX_PORTS or len(addresses) > VN_MAX_ADDRESSES:
            raise ValueError("out of the directory's bounds")
        memset(&entry, 0, sizeof(entry))
        entry.state, entry.generation, entry.mtu = <uint8_t>state, generation, mtu
        entry.queue_ms = queue_ms
        packed_mac = bytes.fromhex(mac.replace(":", ""))
        if len(packed_mac) != 6:
            raise ValueError(f"{mac!r} is not a MAC address")
        memcpy(entry.mac, <const char *>packed_mac, 6)
        entry.address_count = <uint8_t>len(addresses)
        for i, text in enumerate(addresses):
            interface = ipaddress.ip_interface(text)
            address = &entry.addresses[<int>i]
            address.family, address.prefix = interface.version, interface.network.prefixlen
            packed = interface.ip.packed
            memcpy(address.bytes, <const char *>packed, len(packed))
        self._store(port, &entry)

    def free(self, int port):
        """The port belongs to nobody."""
        cdef vn_directory_entry entry
        if not 0 <= port < VN_MAX_PORTS:
            raise ValueError("out of the directory's bounds")
        memset(&entry, 0, sizeof(entry))
        self._store(port, &entry)

    def set_flags(self, int flags):
        """UPLINK: what is for no port goes to port 0. GUARD: ports send from their own addresses only."""
        vn_store_relaxed(&self.d.change, self.d.change + 1)
        vn_fence()
        self.d.flags = <unsigned int>flags
        vn_store_release(&self.d.change, self.d.change + 1)

    @property
    def flags(self):
        return self.d.flags

    cdef void _store(self, int port, const vn_directory_entry *entry):
        vn_store_relaxed(&self.d.change, self.d.change + 1)
        vn_fence()
        memcpy(&self.d.entries[port], entry, sizeof(vn_directory_entry))
        vn_store_release(&self.d.change, self.d.change + 1)


def open_shared(int fd):
    """Map the hosting daemon's directory; memory.Refused when it is none."""
    region = memory.open_shared(fd, sizeof(vn_directory))
    cdef const vn_directory *d = <const vn_directory *><size_t>region.address
    if d.magic != VN_DIRECTORY_MAGIC or d.version != VN_VERSION or d.entry_count != VN_MAX_PORTS:
        raise memory.Refused("it is not a directory of this version")
    return region


def read(region):
    """{port: {state, mac, generation, mtu, addresses}} of the ports in use, for tests and tools."""
    cdef const vn_directory *d = <const vn_directory *><size_t>region.address
    cdef int port
    found = {}
    for port in range(VN_MAX_PORTS):
        if d.entries[port].state == VN_PORT_FREE:
            continue
        mac = (<const char *>d.entries[port].mac)[:6].hex(":")
        addresses = []
        for i in range(d.entries[port].address_count):
            packed = (<const char *>d.entries[port].addresses[i].bytes)[: 4 if d.entries[port].addresses[i].family == 4 else 16]
            addresses.append(f"{ipaddress.ip_address(packed)}/{d.entries[port].addresses[i].prefix}")
        found[port] = {
            "state": d.entries[port].state,
            "mac": mac,
            "generation": d.entries[port].generation,
            "mtu": d.entries[port].mtu,
            "addresses": addresses,
        }
    return found
