"""Packet sockets on a NIC: the rx queues that inbound frames are spread over, and one to transmit with.

Frames come and go with a vnet header, so super-frames with partial checksums pass whole. All sockets are plain
descriptors, non-blocking, and belong to whoever opened them; a NIC that is promiscuous for one of them is so until
its last descriptor is closed, also when the process is killed.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from vnicd.errors import NotFound, NotPermitted, Unsupported, VnicdError
from vnicd.packet.fanout_filter import TAKE_NOTHING

ETH_P_ALL = 0x0003
BUFFER = 4 << 20
"""Bytes that an rx queue, or the transmitting socket, may hold; a 64 KiB frame counts as some 70 KiB."""

SOL_PACKET = 263
PACKET_ADD_MEMBERSHIP, PACKET_DROP_MEMBERSHIP = 1, 2
PACKET_VNET_HDR, PACKET_FANOUT, PACKET_FANOUT_DATA = 15, 18, 22
PACKET_MR_ALLMULTI, PACKET_MR_UNICAST = 2, 3
FANOUT_CBPF, FANOUT_UNIQUEID, FANOUT_IGNORE_OUTGOING = 6, 0x2000, 0x4000
SO_ATTACH_FILTER, SO_DETACH_FILTER, SO_SNDBUFFORCE, SO_RCVBUFFORCE = 26, 27, 32, 33

MAX_RX_QUEUES = 256
ALL_MULTICAST = "all multicast"
"""Stands beside MAC addresses in a set of memberships."""


def open_rx_queues(nic: str, count: int, program: bytes) -> list[int]:
    """The descriptors of `count` rx queues of `nic`, one group with the program of vnicd.packet.fanout_filter.

    Queue 0 takes nothing, ever. The others neither until all of the group is there: so no frame is seen twice, or in
    an rx queue that is not its own. What the machine itself transmits on the NIC is not seen at all.
    """
    socks: list[socket.socket] = []
    try:
        with _explained(nic):
            for _ in range(count):
                socks.append(_open(nic, ETH_P_ALL))
                _join(socks[-1], socks[0])
            _load(socks[0], SOL_PACKET, PACKET_FANOUT_DATA, program)
            for sock in socks[1:]:
                sock.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
        return [sock.detach() for sock in socks]
    finally:
        for sock in socks:
            sock.close()


def open_transmit(nic: str) -> int:
    """A descriptor that transmits on `nic` and receives nothing."""
    with _explained(nic):
        return _open(nic, 0).detach()


def set_program(fd: int, program: bytes) -> None:
    """Give the group of the rx queue `fd` another program; each frame meets the old or the new one."""
    with _borrowed(fd) as sock:
        _load(sock, SOL_PACKET, PACKET_FANOUT_DATA, program)


def set_memberships(
    fd: int, ifindex: int, macs: set[str], old: set[str], all_multicast: bool = False
) -> set[str]:
    """Let the NIC receive frames for these MAC addresses, and all multicast or not.

    `old` is what the last call for this descriptor returned, or empty. A NIC that cannot filter by further MAC
    addresses becomes promiscuous instead. All ends when `fd` is closed.
    """
    wanted = macs | {ALL_MULTICAST} if all_multicast else macs - {ALL_MULTICAST}
    with _borrowed(fd) as sock:
        for what in sorted(wanted - old):
            sock.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, _membership(ifindex, what))
        for what in sorted(old - wanted):
            try:
                sock.setsockopt(SOL_PACKET, PACKET_DROP_MEMBERSHIP, _membership(ifindex, what))
            except OSError as error:
                if error.errno not in (errno.ENODEV, errno.EADDRNOTAVAIL):
                    raise  # else the NIC has gone, and its memberships with it
    return wanted


def _open(nic: str, protocol: int) -> socket.socket:
    """A socket bound to the NIC that takes nothing yet."""
    kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    sock = socket.socket(socket.AF_PACKET, kind, 0)  # protocol 0 receives nothing before it is bound
    try:
        sock.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        if protocol:
            sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
            _load(sock, socket.SOL_SOCKET, SO_ATTACH_FILTER, TAKE_NOTHING)
        else:
            sock.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, BUFFER)
        sock.bind((nic, protocol))
        sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)  # that the NIC is down is no news
    except BaseException:
        sock.close()
        raise
    return sock


def _join(sock: socket.socket, first: socket.socket) -> None:
    """Enter the group of `first`, which is made if that is the socket itself."""
    flags, group = FANOUT_CBPF | FANOUT_IGNORE_OUTGOING, 0
    if sock is first:
        flags |= FANOUT_UNIQUEID
    else:
        group = first.getsockopt(SOL_PACKET, PACKET_FANOUT) & 0xFFFF
    sock.setsockopt(SOL_PACKET, PACKET_FANOUT, struct.pack("=I", flags << 16 | group))


def attach(sock: socket.socket, program: bytes) -> None:
    """Let a packet socket receive only what a BPF program, as packed struct sock_filter, takes."""
    _load(sock, socket.SOL_SOCKET, SO_ATTACH_FILTER, program)


def _load(sock: socket.socket, level: int, option: int, program: bytes) -> None:
    """Pass a program as struct sock_fprog."""
    instructions = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HL", len(program) // 8, ctypes.addressof(instructions))
    sock.setsockopt(level, option, header)


def _membership(ifindex: int, what: str) -> bytes:
    """A struct packet_mreq."""
    if what == ALL_MULTICAST:
        return struct.pack("=iHH8s", ifindex, PACKET_MR_ALLMULTI, 0, b"")
    return struct.pack("=iHH8s", ifindex, PACKET_MR_UNICAST, 6, bytes.fromhex(what.replace(":", "")))


@contextmanager
def _borrowed(fd: int) -> Iterator[socket.socket]:
    """A socket object for a descriptor that stays open."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0, fileno=fd)
    try:
        yield sock
    finally:
        sock.detach()


@contextmanager
def _explained(nic: str) -> Iterator[None]:
    """Turns what the kernel objects to into an error that a user understands."""
    try:
        yield
    except OSError as error:
        raise _explanation(nic, error) from error


def _explanation(nic: str, error: OSError) -> VnicdError:
    if error.errno in (errno.ENODEV, errno.ENXIO):
        return NotFound(f"there is no interface {nic}", "see: ip link")
    if error.errno == errno.EPERM:
        return NotPermitted(f"no packet socket can be opened on {nic}", "run vnicd as root")
    reason = os.strerror(error.errno) if error.errno else str(error)
    return Unsupported(f"the kernel refuses packet sockets on {nic}: {reason}", f"is {nic} up?")
