"""Whether a port of the calling thread's namespace is in use."""

from __future__ import annotations

import errno
import socket
from contextlib import suppress
from pathlib import Path

KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
WILDCARDS = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}
TABLES = {socket.AF_INET: "{protocol}", socket.AF_INET6: "{protocol}6"}
TCP_LISTEN = "0A"


def is_in_use(protocol: str, port: int, address: str = "") -> bool:
    """Whether a program has a port at an address, or at any of the machine's if none is named; found by taking it.

    A connection that is over, or that a client has made from that port, is no reason for TCP.
    """
    if address:
        return _is_taken(protocol, port, address)
    return any(_is_taken(protocol, port, each) for each in WILDCARDS.values())


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
            if error.errno == errno.EACCES:  # a confined daemon may take no port below 1024
                return is_listed(protocol, port, address)
            return error.errno == errno.EADDRINUSE
    return False


def is_listed(protocol: str, port: int, address: str) -> bool:
    """The same from the kernel's tables; the address may be that which stands for all of a family."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    wanted = socket.inet_pton(family, address)
    both = socket.AF_INET, socket.AF_INET6
    for each in both if family == socket.AF_INET else both[1:]:
        table = Path("/proc/thread-self/net") / TABLES[each].format(protocol=protocol)
        for line in table.read_text().splitlines()[1:] if table.exists() else ():
            _, local, _, state, *_ = line.split()
            text, number = local.split(":")
            if int(number, 16) != port or (protocol == "tcp" and state != TCP_LISTEN):
                continue
            own = _packed(text)
            is_any = not any(own) or not any(wanted)
            if own == wanted or (is_any and (each == family or not any(own))):
                return True
    return False


def _packed(text: str) -> bytes:
    """An address out of these tables, which have it in words of the machine's order."""
    raw = bytes.fromhex(text)
    return b"".join(raw[at : at + 4][::-1] for at in range(0, len(raw), 4))
