"""Whether a port of the calling thread's namespace is in use."""

from __future__ import annotations

import errno
import socket
from contextlib import suppress

KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


def is_in_use(protocol: str, port: int, address: str = "") -> bool:
    """Whether a program has a port at an address, or at any of the machine's if none is named; found by taking it.

    A connection that is over, or that a client has made from that port, is no reason for TCP.
    """
    if address:
        return _is_taken(protocol, port, address)
    return _is_taken(protocol, port, "0.0.0.0") or _is_taken(protocol, port, "::")


def _is_taken(protocol: str, port: int, address: str) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with suppress(OSError), socket.socket(family, KINDS[protocol]) as sock:  # there may be no IPv6
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if protocol == "tcp":  # of UDP it would share the port with others that allow it
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((address, port))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False
