"""Direct sockets as Python sees them: the structures of cext/abi/socket_layout.h, requests and replies."""

from __future__ import annotations

import ipaddress
import re
import socket
import struct
from collections.abc import Iterable
from contextlib import suppress
from enum import IntEnum
from typing import NamedTuple

VERSION = 4
BROKER_NAME = "vnicd-sockets"
"""The broker's abstract name in the namespace of each partition."""

RESOLVER = "-resolver"
"""What follows the broker's name where programs ask first."""

EXCHANGE = "-exchange"
"""What follows the broker's name where offers are made and taken."""

CONTROL_BYTES = 4096
RING_BYTES = 256 * 1024
LARGE_BYTES = 2048 * 1024
SMALL_BYTES = CONTROL_BYTES + RING_BYTES
"""Of a stream region, that are used as long as its ring is small."""

REGION_BYTES = CONTROL_BYTES + LARGE_BYTES
REGION_MAGIC = 0x666C6148
PROCESS_MAGIC = 0x636F7250
TABLE_ENTRIES = 4096
TABLE_PORTS = 1024
RECENT = 64

_ADDRESS = "HHI16s"
REQUEST = struct.Struct(f"=II{_ADDRESS}{_ADDRESS}")
REPLY = struct.Struct("=IIII")
ADDRESS = struct.Struct(f"={_ADDRESS}")
ENTRY = struct.Struct(f"={_ADDRESS}II")

LOOPBACK6 = socket.inet_pton(socket.AF_INET6, "::1")
MAPPED = bytes(10) + b"\xff\xff"
"""What an IPv6 address that stands for an IPv4 one begins with."""


class Op(IntEnum):
    HELLO = 1
    OFFER = 2
    TAKE = 3
    FORGET = 4
    ASK = 5
    LISTEN = 6


class Reason(IntEnum):
    """Why a connection is not direct, in the order of VN_REASONS."""

    DIRECT = 0
    NOT_A_PARTITION = 1
    NO_BROKER = 2
    NO_LIBRARY = 3
    NO_OFFER = 4
    NO_MEMORY = 5
    NO_DESCRIPTORS = 6
    FELL_BACK = 7
    REFUSED_BY_PEER = 8
    SECCOMP = 9
    UNSUPPORTED = 10
    SHORT_LIVED = 11
    OPTION = 12
    WAITS_UNSEEN = 13


WORDS = {
    Reason.DIRECT: "direct",
    Reason.NOT_A_PARTITION: "the target is no address of another partition",
    Reason.NO_BROKER: "no hosting daemon answered",
    Reason.NO_LIBRARY: "the server runs without the library",
    Reason.NO_OFFER: "the client left it to TCP, or runs without the library",
    Reason.NO_MEMORY: "there was no memory for it",
    Reason.NO_DESCRIPTORS: "the limit of open files is too near",
    Reason.FELL_BACK: "the listener did not answer in time",
    Reason.REFUSED_BY_PEER: "TCP did not connect",
    Reason.SECCOMP: "the program has a seccomp filter",
    Reason.UNSUPPORTED: "the socket, or the kernel, does not allow it",
    Reason.SHORT_LIVED: "connections to this target are short-lived, TCP is faster",
    Reason.OPTION: "the program has set an option that only TCP has",
    Reason.WAITS_UNSEEN: "the library cannot see how the program waits",
}


def reason_word(number: int) -> str:
    """The short name of a reason, as socket_layout.h has it; numbers of a later version stay numbers."""
    return Reason(number).name.lower() if number in WORDS else str(number)


class Address(NamedTuple):
    """An IP address in network order (4 or 16 bytes) and a port."""

    ip: bytes
    port: int

    @property
    def is_loopback(self) -> bool:
        return is_loopback(self.ip)

    @property
    def text(self) -> str:
        """As inet_ntop writes it."""
        family = socket.AF_INET if len(self.ip) == 4 else socket.AF_INET6
        return socket.inet_ntop(family, self.ip)

    def __str__(self) -> str:
        return f"{self.text}:{self.port}" if len(self.ip) == 4 else f"[{self.text}]:{self.port}"


NOWHERE = Address(b"", 0)
"""An address that is not known."""


def is_loopback(ip: bytes) -> bool:
    return ip == LOOPBACK6 or (len(ip) == 4 and ip[0] == 127)


def address(ip: str, port: int) -> Address:
    """An address of texts such as the socket module gives; one that stands for IPv4 is IPv4."""
    text = ip.partition("%")[0]
    if ":" not in text:
        return Address(socket.inet_pton(socket.AF_INET, text), port)
    return Address(_plain(socket.inet_pton(socket.AF_INET6, text)), port)


def packed(text: str) -> bytes:
    """The IP address of a text with or without a prefix length."""
    return ipaddress.ip_interface(text).ip.packed


def _plain(ip: bytes) -> bytes:
    return ip[12:] if ip.startswith(MAPPED) else ip


def _address(family: int, port: int, ip: bytes) -> Address:
    """ValueError when it is of no family that we know."""
    if family == socket.AF_INET:
        return Address(ip[:4], port)
    if family == socket.AF_INET6:
        return Address(_plain(ip), port)
    if family == 0:
        return NOWHERE
    raise ValueError(f"{family} is no family of addresses")


def _fields(where: Address) -> tuple[int, int, int, bytes]:
    family = {0: 0, 4: socket.AF_INET, 16: socket.AF_INET6}[len(where.ip)]
    return int(family), where.port, 0, where.ip


def parse_address(data: bytes | memoryview) -> Address:
    family, port, _, ip = ADDRESS.unpack(data)
    return _address(family, port, ip)


def pack_address(where: Address) -> bytes:
    return ADDRESS.pack(*_fields(where))


class Request(NamedTuple):
    version: int
    op: int
    source: Address
    target: Address

    def pack(self) -> bytes:
        return REQUEST.pack(self.version, self.op, *_fields(self.source), *_fields(self.target))


def request(op: Op, source: Address = NOWHERE, target: Address = NOWHERE) -> bytes:
    return Request(VERSION, op, source, target).pack()


def parse_request(data: bytes) -> Request:
    """ValueError when it is none."""
    if len(data) != REQUEST.size:
        raise ValueError(f"a request has {REQUEST.size} bytes, not {len(data)}")
    version, op, *rest = REQUEST.unpack(data)
    family, port, _, ip, family2, port2, _, ip2 = rest
    return Request(version, op, _address(family, port, ip), _address(family2, port2, ip2))


class Reply(NamedTuple):
    reason: int
    port: int = 0
    version: int = VERSION

    def pack(self) -> bytes:
        return REPLY.pack(self.version, self.reason, self.port, 0)


def parse_reply(data: bytes) -> Reply:
    version, reason, port, _ = REPLY.unpack(data)
    return Reply(reason, port, version)


def listener_name(where: Address) -> bytes:
    """The abstract name of a listener with the preload library that is bound to an address."""
    return f"\0vnicd-listener/{where.port}/{where.text}".encode()


def listener_names(target: Address) -> list[bytes]:
    """Those of the listeners that take connections to a target."""
    anywhere = [bytes(4), bytes(16)] if len(target.ip) == 4 else [bytes(16)]
    return [listener_name(Address(ip, target.port)) for ip in (target.ip, *anywhere)]


_LISTENER = re.compile(rb" @vnicd-listener/(\d{1,5})/([0-9a-f.:]{1,45})\n")


def listeners(table: bytes) -> set[Address]:
    """Those whose names are in the kernel's table of Unix sockets, /proc/net/unix."""
    found = set()
    for port, text in _LISTENER.findall(table):
        with suppress(OSError):  # anybody may bind a name that looks like one
            found.add(address(text.decode(), int(port)))
    return found


def pack_entries(ports: Iterable[tuple[bytes, int]]) -> bytes:
    """The table's entries: IP addresses, and the number of the partition that has each."""
    return b"".join(ENTRY.pack(*_fields(Address(ip, 0)), port, 0) for ip, port in ports)


# ------------------------------------------------------------------------------------- pages of a region, of a process

_REGION = struct.Struct(f"=IIiI{_ADDRESS}{_ADDRESS}16s")
_PROCESS = struct.Struct("=IIiI16s16Q")
_RECENT = struct.Struct(f"={_ADDRESS}IiQ")
PROCESS_BYTES = _PROCESS.size + RECENT * _RECENT.size

OFFSETS = {"head": 128, "state": 144, "rings": 176, "tail": 192, "armed": 256, "sleeps": 456}
"""Where those fields of struct vn_region are that change and are told."""

FIN, CLOSED, RESET = 1, 2, 4


class StreamRegion(NamedTuple):
    """One end's control page as it was at a moment. What a program has written there need not be true."""

    pid: int
    accepted: bool
    local: Address
    remote: Address
    program: str
    head: int
    tail: int
    state: int
    armed: int
    wakeups: int
    sleeps: int


def _text(data: bytes) -> str:
    """A name of a program, fit to be shown."""
    text = data.partition(b"\0")[0].decode(errors="replace")
    return "".join(each if each.isprintable() else "?" for each in text)


def parse_stream_region(page: bytes) -> StreamRegion:
    """ValueError when it is no control page of this version."""
    try:
        magic, version, pid, accepted, *rest, program = _REGION.unpack_from(page)
        numbers = {
            name: _number(page, name) for name in ("head", "tail", "state", "armed", "rings", "sleeps")
        }
    except struct.error as error:
        raise ValueError(str(error)) from error
    if magic != REGION_MAGIC or version != VERSION:
        raise ValueError("it is no stream region of this version")
    local, remote = _address(rest[0], rest[1], rest[3]), _address(rest[4], rest[5], rest[7])
    return StreamRegion(
        pid, bool(accepted), local, remote, _text(program), wakeups=numbers.pop("rings"), **numbers
    )


def _number(page: bytes, name: str) -> int:
    wide = name != "state"
    return int(struct.unpack_from("=Q" if wide else "=I", page, OFFSETS[name])[0])


class Decision(NamedTuple):
    """How a process decided on one connection."""

    target: Address
    reason: int
    fd: int
    when_ns: int


class Process(NamedTuple):
    """What a process tells of its decisions."""

    pid: int
    program: str
    decided: dict[str, int]
    recent: list[Decision]


def parse_process(page: bytes) -> Process:
    """The latest decision last; ValueError when it is no such page of this version."""
    try:
        magic, version, pid, count, program, *decided = _PROCESS.unpack_from(page)
        rows = [_RECENT.unpack_from(page, _PROCESS.size + index * _RECENT.size) for index in range(RECENT)]
    except struct.error as error:
        raise ValueError(str(error)) from error
    if magic != PROCESS_MAGIC or version != VERSION:
        raise ValueError("it is no page of a process of this version")
    first = max(0, count - RECENT)
    chosen = [rows[number % RECENT] for number in range(first, count)]
    recent = [
        Decision(_address(family, port, ip), reason, fd, when)
        for family, port, _, ip, reason, fd, when in chosen
    ]
    named = {reason_word(number): times for number, times in enumerate(decided) if times}
    return Process(pid, _text(program), named, recent)
