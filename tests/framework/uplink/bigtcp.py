"""BIG TCP: interfaces whose super-frames are longer than 64 KiB."""

from __future__ import annotations

import os
import socket
import struct

from tests.framework.fabric.namespaces import NETNS, in_namespace

NETLINK_ROUTE, RTM_NEWLINK, NLM_F_REQUEST, NLM_F_ACK = 0, 16, 1, 4
MAX_SIZES = (41, 58, 63, 64)
"""IFLA_GSO_MAX_SIZE, IFLA_GRO_MAX_SIZE, and those for IPv4, which iproute2 and pyroute2 do not know everywhere."""


def set_max_sizes(netns: str, device: str, size: int) -> None:
    """How long an interface's super-frames may be, bytes, in both directions. OSError when the kernel refuses."""
    in_namespace(str(NETNS / netns), lambda: _set(device, size))


def _set(device: str, size: int) -> None:
    attributes = b"".join(struct.pack("=HHI", 8, kind, size) for kind in MAX_SIZES)
    body = struct.pack("=BxHiII", 0, 0, socket.if_nametoindex(device), 0, 0) + attributes
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_ROUTE) as sock:
        sock.send(struct.pack("=IHHII", 16 + len(body), RTM_NEWLINK, NLM_F_REQUEST | NLM_F_ACK, 1, 0) + body)
        (error,) = struct.unpack_from("=i", sock.recv(4096), 16)
    if error:
        raise OSError(-error, os.strerror(-error))
