"""Questions to a name server, and its answers, as bytes: what a resolver library would not let a test see."""

from __future__ import annotations

import ipaddress
import socket
import struct
from dataclasses import dataclass

A, PTR, AAAA, SOA, OPT, ANY = 1, 12, 28, 6, 41, 255
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = range(6)


@dataclass(frozen=True)
class Reply:
    ident: int
    flags: int
    code: int
    found: tuple[str, ...]
    """Addresses and names, in their order."""
    data: bytes

    @property
    def truncated(self) -> bool:
        return bool(self.flags & 0x0200)


def encoded(name: str) -> bytes:
    labels = [label.encode() for label in name.split(".") if label]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def question(name: str, kind: int = A, ident: int = 7, size: int | None = None, class_: int = 1) -> bytes:
    """A question, with EDNS if there is a size."""
    edns = struct.pack("!BHHIH", 0, OPT, size, 0, 0) if size is not None else b""
    header = struct.pack("!HHHHHH", ident, 0x0100, 1, 0, 0, bool(edns))
    return header + encoded(name) + struct.pack("!HH", kind, class_) + edns


def parse(data: bytes) -> Reply:
    """The parts of a reply; AssertionError when it is none."""
    ident, flags, questions, answers, authorities, additions = struct.unpack_from("!HHHHHH", data)
    assert flags & 0x8000, "not an answer"
    at = 12
    for _ in range(questions):
        at = _name(data, at)[1] + 4
    found = []
    for number in range(answers + authorities + additions):
        at = _name(data, at)[1]
        kind, _, _, length = struct.unpack_from("!HHIH", data, at)
        at += 10
        value = data[at : at + length]
        assert len(value) == length, "a record is not whole"
        if number < answers and kind in (A, AAAA):
            found.append(str(ipaddress.ip_address(value)))
        elif number < answers:
            found.append(_name(data, at)[0])
        at += length
    assert at == len(data), "there is something behind the last record"
    return Reply(ident, flags, flags & 15, tuple(found), data)


def _name(data: bytes, at: int) -> tuple[str, int]:
    """A name, and where it ends."""
    labels = []
    while length := data[at]:
        if length >= 0xC0:
            return ".".join([*labels, _name(data, struct.unpack_from("!H", data, at)[0] & 0x3FFF)[0]]), at + 2
        labels.append(data[at + 1 : at + 1 + length].decode())
        at += 1 + length
    return ".".join(labels), at + 1


def ask_udp(sock: socket.socket, data: bytes) -> Reply:
    """The reply by a socket that is connected to the server, which has a time-out."""
    sock.send(data)
    while True:
        got = sock.recv(65535)
        if got[:2] == data[:2]:
            return parse(got)


def ask_tcp(sock: socket.socket, data: bytes) -> Reply:
    sock.sendall(struct.pack("!H", len(data)) + data)
    with sock.makefile("rb") as file:
        return parse(file.read(struct.unpack("!H", file.read(2))[0]))
