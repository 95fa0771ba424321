"""Tracked connections, deleted so that the kernel judges their next packet by the rules that there are now.

A datagram belongs to the entry that the first one of its addresses and ports has made, for as long as more of them
come. One that came before its port was published, or when it led elsewhere, would keep its sender away for ever.

The kernel lists only the entries of a port (Linux 5.8): to read them all takes seconds on a busy machine. pyroute2
can't ask for that, so the messages are put together here. Addresses are compared here as well, since the kernel's own
comparison of IPv6 addresses is the wrong way round.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import struct
from collections.abc import Collection, Iterator

NETLINK_NETFILTER = 12
IPCTNL_MSG_CT_NEW, IPCTNL_MSG_CT_GET, IPCTNL_MSG_CT_DELETE = 1 << 8, (1 << 8) | 1, (1 << 8) | 2
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 0x1, 0x4, 0x300
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLMSG_HEADER, NFGENMSG = 16, 4
NLA_F_NESTED, NLA_TYPE_MASK = 0x8000, 0x3FFF

CTA_TUPLE_ORIG, CTA_ID, CTA_ZONE, CTA_FILTER = 1, 12, 18, 25
CTA_TUPLE_IP, CTA_TUPLE_PROTO = 1, 2
CTA_IP_DST = {socket.AF_INET: 2, socket.AF_INET6: 4}
CTA_PROTO_NUM, CTA_PROTO_DST_PORT = 1, 3
CTA_FILTER_ORIG_FLAGS = 1
F_PROTO_NUM, F_PROTO_DST_PORT = 1 << 3, 1 << 5

TIMEOUT_S = 2.0

Attributes = dict[int, bytes]


def forget_udp(port: int, addresses: Collection[str]) -> int:
    """Delete the entries of datagrams that were sent to a port of these addresses; how many there were.

    OSError when the kernel refuses.
    """
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
    with socket.socket(socket.AF_NETLINK, kind, NETLINK_NETFILTER) as sock:
        sock.settimeout(TIMEOUT_S)
        found = [
            (family, entry)
            for family in CTA_IP_DST
            for entry in _entries(sock, family, port)
            if _destination(entry, family, port) in addresses
        ]
        for family, entry in found:
            body = _nest(CTA_TUPLE_ORIG, entry[CTA_TUPLE_ORIG])
            body += b"".join(_attribute(each, entry[each]) for each in (CTA_ZONE, CTA_ID) if each in entry)
            sock.send(_message(IPCTNL_MSG_CT_DELETE, NLM_F_ACK, family, body))
            for _ in _answers(sock):
                pass
    return len(found)


def _entries(sock: socket.socket, family: int, port: int) -> list[Attributes]:
    protocol = _attribute(CTA_PROTO_NUM, bytes([socket.IPPROTO_UDP]))
    protocol += _attribute(CTA_PROTO_DST_PORT, struct.pack(">H", port))
    body = _nest(CTA_TUPLE_ORIG, _nest(CTA_TUPLE_PROTO, protocol))
    flags = struct.pack("=I", F_PROTO_NUM | F_PROTO_DST_PORT)
    body += _nest(CTA_FILTER, _attribute(CTA_FILTER_ORIG_FLAGS, flags))
    sock.send(_message(IPCTNL_MSG_CT_GET, NLM_F_DUMP, family, body))
    return [_attributes(each[NFGENMSG:]) for each in _answers(sock)]


def _destination(entry: Attributes, family: int, port: int) -> str:
    """The address that the first datagram was sent to; empty if it was none, or to another port."""
    tuple_ = _attributes(entry.get(CTA_TUPLE_ORIG, b""))
    protocol = _attributes(tuple_.get(CTA_TUPLE_PROTO, b""))
    is_meant = protocol.get(CTA_PROTO_NUM) == bytes([socket.IPPROTO_UDP])
    is_meant = is_meant and protocol.get(CTA_PROTO_DST_PORT) == struct.pack(">H", port)
    address = _attributes(tuple_.get(CTA_TUPLE_IP, b"")).get(CTA_IP_DST[socket.AddressFamily(family)])
    return str(ipaddress.ip_address(address)) if is_meant and address else ""


def _answers(sock: socket.socket) -> Iterator[bytes]:
    """The bodies of all messages up to the end of an answer; OSError if it is one. An entry may have gone meanwhile."""
    while True:
        data = sock.recv(1 << 20)
        while len(data) >= NLMSG_HEADER:
            size, kind = struct.unpack_from("=IH", data)
            body, data = data[NLMSG_HEADER:size], data[max(size + -size % 4, NLMSG_HEADER) :]
            if kind in (NLMSG_ERROR, NLMSG_DONE):
                code = -struct.unpack_from("=i", body)[0] if len(body) >= 4 else 0
                if code not in (0, errno.ENOENT):
                    raise OSError(code, os.strerror(code))
                return
            yield body


def _message(kind: int, flags: int, family: int, body: bytes) -> bytes:
    body = struct.pack("=BBH", family, 0, 0) + body
    return struct.pack("=IHHII", NLMSG_HEADER + len(body), kind, NLM_F_REQUEST | flags, 1, 0) + body


def _attributes(data: bytes) -> Attributes:
    found = {}
    while len(data) >= 4:
        size, kind = struct.unpack_from("=HH", data)
        found[kind & NLA_TYPE_MASK] = data[4:size]
        data = data[max(size + -size % 4, 4) :]
    return found


def _attribute(kind: int, data: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def _nest(kind: int, data: bytes) -> bytes:
    return _attribute(kind | NLA_F_NESTED, data)
