"""TCP connections of a namespace, ended from outside: who uses them has ECONNABORTED, and the other end a reset."""

from __future__ import annotations

import errno
import ipaddress
import logging
import socket
import struct
from collections.abc import Iterable, Iterator
from typing import Any

from pyroute2.netlink.diag import SOCK_DESTROY, DiagSocket, inet_diag_req
from pyroute2.netlink.exceptions import NetlinkError

from vnicd.errors import NoNamespace
from vnicd.kernel import netns

log = logging.getLogger(__name__)

ESTABLISHED, SYN_SENT, SYN_RECV, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT, LAST_ACK, CLOSING = 1, 2, 3, 4, 5, 8, 9, 11
"""States of a socket that somebody has, or data are on the way for, as linux/tcp_states.h has them."""

STATES = sum(
    1 << state
    for state in (ESTABLISHED, SYN_SENT, SYN_RECV, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT, LAST_ACK, CLOSING)
)

NLM_F_REQUEST, NLM_F_ACK = 1, 4


def abort(netns_path: str, addresses: Iterable[str]) -> int:
    """End the connections of these addresses (with a prefix length or without) in the namespace; how many there were.

    The kernel may not be able to (CONFIG_INET_DIAG_DESTROY), or the namespace be gone: then they stay as they are.
    """
    own = {ipaddress.ip_interface(address).ip for address in addresses}
    if not own:
        return 0
    try:
        return netns.inside(netns_path, lambda: _abort(own))
    except (NoNamespace, NetlinkError, OSError) as error:
        log.warning("connections of %s can't be ended: %s", ", ".join(map(str, sorted(own, key=str))), error)
        return 0


def _abort(own: set[Any]) -> int:
    with DiagSocket() as diag:
        diag.bind()
        found = [each for family in (socket.AF_INET, socket.AF_INET6) for each in _connections(diag, family)]
        return sum(_destroy(diag, each) for each in found if _plain(each["idiag_src"]) in own)


def _connections(diag: DiagSocket, family: int) -> Iterator[Any]:
    yield from diag.get_sock_stats(family=family, states=STATES)


def _plain(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    found = ipaddress.ip_address(text)
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found


def _words(text: str) -> tuple[int, ...]:
    """An address as four numbers of 32 bits."""
    return struct.unpack(">4I", ipaddress.ip_address(text).packed.ljust(16, b"\0"))


def _destroy(diag: DiagSocket, told: Any) -> bool:
    """False when it has ended by itself meanwhile."""
    request = inet_diag_req()
    for name in ("idiag_sport", "idiag_dport", "idiag_if", "idiag_cookie"):
        request[name] = told[name]
    for name in ("idiag_src", "idiag_dst"):
        request[name] = _words(told[name])
    request["sdiag_family"], request["sdiag_protocol"] = told["idiag_family"], socket.IPPROTO_TCP
    request["idiag_states"] = STATES
    try:
        tuple(diag.nlm_request(request, SOCK_DESTROY, NLM_F_REQUEST | NLM_F_ACK))
    except NetlinkError as error:
        if error.code == errno.ENOENT:
            return False
        raise
    return True
