"""The number of the ruleset's generation, by which a reader knows whether anybody has changed rules meanwhile."""

from __future__ import annotations

import os
import socket
import struct

NETLINK_NETFILTER = 12
NFT_MSG_GETGEN = (10 << 8) | 16
NLM_F_REQUEST = 0x1
NLMSG_ERROR = 2
NLMSG_HEADER, NFGENMSG = 16, 4
NFTA_GEN_ID = 1

TIMEOUT_S = 2.0


def current() -> int:
    """That of the calling thread's namespace, which each transaction makes one more; OSError if it can't be had."""
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
    with socket.socket(socket.AF_NETLINK, kind, NETLINK_NETFILTER) as sock:
        sock.settimeout(TIMEOUT_S)
        header = struct.pack("=IHHII", NLMSG_HEADER + NFGENMSG, NFT_MSG_GETGEN, NLM_F_REQUEST, 1, 0)
        sock.send(header + bytes(NFGENMSG))
        return parse(sock.recv(1 << 16))


def parse(message: bytes) -> int:
    """The number in the kernel's answer; OSError if it is an error."""
    size, kind = struct.unpack_from("=IH", message)
    if kind == NLMSG_ERROR:
        code = -struct.unpack_from("=i", message, NLMSG_HEADER)[0]
        raise OSError(code, os.strerror(code))
    at = NLMSG_HEADER + NFGENMSG
    while at + 4 <= min(size, len(message)):
        length, which = struct.unpack_from("=HH", message, at)
        if which == NFTA_GEN_ID:
            return int(struct.unpack_from(">I", message, at + 4)[0])
        at += max(length + -length % 4, 4)
    raise OSError(0, "the kernel does not tell the generation of its rules")


def is_next(before: int, after: int) -> bool:
    """Whether one transaction, and no other, came between: the kernel counts in 32 bits and leaves out 0."""
    return after == (before % 0xFFFFFFFF) + 1
