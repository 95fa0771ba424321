"""Counters of a daemon: made by the hosting daemon, written by one loop, readable while that hangs or is dead."""

from libc.stdint cimport uint64_t

from abi.abi cimport *

from vnicd.native import memory

PORT_NAMES = tuple(vn_port_counter_names[i].decode() for i in range(VN_PORT_COUNTER_COUNT))
PEER_NAMES = tuple(vn_peer_counter_names[i].decode() for i in range(VN_PEER_COUNTER_COUNT))
DROP_NAMES = tuple(vn_drop_names[i].decode() for i in range(VN_DROP_COUNT))
FAULT_NAMES = tuple(vn_fault_names[i].decode() for i in range(VN_FAULT_COUNT))


def create():
    """A new counters Region, all zero. Whoever holds its fd may write it: it goes to one daemon only."""
    region = memory.create(sizeof(vn_counters), one_writer=False, name="vnicd-counters")
    cdef vn_counters *c = <vn_counters *><size_t>region.address
    c.version = VN_VERSION
    c.port_counters, c.peer_counters, c.drop_counters = VN_PORT_COUNTER_COUNT, VN_PEER_COUNTER_COUNT, VN_DROP_COUNT
    c.magic = VN_COUNTERS_MAGIC
    return region


def open_shared(int fd, bint writable=False):
    """Map a counters memfd; memory.Refused when it is of a later version or no such thing.

    Counters are only ever added at the end of their kind, so those of an earlier version are a part of ours.
    """
    region = memory.open_shared(fd, sizeof(vn_counters), writable, one_writer=False)
    cdef const vn_counters *c = <const vn_counters *><size_t>region.address
    if (c.magic != VN_COUNTERS_MAGIC or c.version != VN_VERSION or c.port_counters > VN_PORT_COUNTER_COUNT
            or c.peer_counters > VN_PEER_COUNTER_COUNT or c.drop_counters > VN_DROP_COUNT):
        raise memory.Refused("it does not hold the counters of this version")
    return region


def port(region):
    """{name: value} of the daemon as a whole."""
    cdef const vn_counters *c = <const vn_counters *><size_t>region.address
    return {name: vn_load_relaxed(&c.values[<int>i]) for i, name in enumerate(PORT_NAMES)}


def drops(region):
    """{reason: frames} of the daemon and all its peers together."""
    cdef const vn_counters *c = <const vn_counters *><size_t>region.address
    cdef int i, p
    cdef uint64_t total
    result = {}
    for i, name in enumerate(DROP_NAMES):
        total = vn_load_relaxed(&c.drops[i])
        for p in range(VN_MAX_PORTS):
            total += vn_load_relaxed(&c.peers[p].drops[i])
        result[name] = total
    return result


def peer(region, int port):
    """({name: value}, {reason: frames, nonzero only}) of the daemon with one peer."""
    cdef const vn_counters *c = <const vn_counters *><size_t>region.address
    if not 0 <= port < VN_MAX_PORTS:
        raise ValueError(f"port {port} is out of range")
    values = {name: vn_load_relaxed(&c.peers[port].values[<int>i]) for i, name in enumerate(PEER_NAMES)}
    reasons = {name: vn_load_relaxed(&c.peers[port].drops[<int>i]) for i, name in enumerate(DROP_NAMES)}
    return values, {name: n for name, n in reasons.items() if n}
