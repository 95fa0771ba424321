"""What the broker needs of the kernel: its sockets in a namespace, and what is bound there."""

from __future__ import annotations

import errno
import logging
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vnicd.errors import NoNamespace
from vnicd.kernel import netns
from vnicd.sockets import abi, presence_names
from vnicd.sockets.abi import Address

log = logging.getLogger(__name__)

NETLINK_NETFILTER = 12
ROUTE_GROUPS = 0x1 | 0x8 | 0x10 | 0x40 | 0x80 | 0x100 | 0x400 | 0x40000
"""RTMGRP_LINK, TC, IPV4_IFADDR, IPV4_ROUTE, IPV4_RULE, IPV6_IFADDR, IPV6_ROUTE, IPV6_RULE."""

NFTABLES_GROUP = 1 << (7 - 1)
"""NFNLGRP_NFTABLES."""

BACKLOG = 4096

MOST_OF_TABLE = 8 << 20
"""Bytes of the kernel's table of Unix sockets that are read: some 100,000 sockets."""


@dataclass
class NamespaceSockets:
    """The broker's sockets in one namespace."""

    listener: socket.socket
    probe: socket.socket
    """Tries whether a listener with the preload library is there."""
    resolver: socket.socket | None = None
    """Where programs ask first; None when somebody has its name."""
    exchange: socket.socket | None = None
    """Where offers are made and taken; None when it is lost."""
    watches: list[socket.socket] = field(default_factory=list)
    """Become readable when firewall, routes, rules, addresses or links change."""
    cookie: int = 0
    """What the kernel tells the namespace by."""
    where: tuple[int, int] | None = None
    """The identity of the namespace."""
    namespace: int = -1
    """A descriptor of it; -1 where it is our own."""
    listeners: set[Address] | None = None
    """Those with the preload library that were there already; None when there may be others."""
    presence: dict[bytes, socket.socket] = field(default_factory=dict)
    """Bound names by which programs know without asking."""

    @property
    def path(self) -> str | None:
        """Of the namespace, for as long as this is open."""
        return f"/proc/self/fd/{self.namespace}" if self.namespace >= 0 else None

    def close(self) -> None:
        if self.namespace >= 0:
            os.close(self.namespace)
            self.namespace = -1
        for sock in (
            self.listener,
            self.probe,
            self.resolver,
            self.exchange,
            *self.watches,
            *self.presence.values(),
        ):
            if sock is not None:
                sock.close()


def equip(path: str | None, name: str) -> NamespaceSockets:
    """Make the sockets in the namespace at a path; OSError when somebody has one of the names already."""
    return _equip(name, None) if path is None else netns.inside(path, lambda: _equip(name, netns.OWN))


def _equip(name: str, namespace: str | None) -> NamespaceSockets:
    sockets = NamespaceSockets(
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK),
    )
    try:
        sockets.exchange = _listener(name + abi.EXCHANGE)  # first: who finds the broker finds it as well
        sockets.listener.bind(f"\0{name}")
        sockets.listener.listen(BACKLOG)
        sockets.cookie = netns.cookie(sockets.listener)
        sockets.where = netns.identity(netns.OWN)
        if namespace is not None:
            sockets.namespace = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
        sockets.listeners = _listeners()  # those that begin later find us listening, and tell us
    except OSError:
        sockets.close()
        raise
    sockets.resolver = _resolver(name)
    for protocol, groups in ((socket.NETLINK_ROUTE, ROUTE_GROUPS), (NETLINK_NETFILTER, NFTABLES_GROUP)):
        try:
            sockets.watches.append(_watch(protocol, groups))
        except OSError as error:
            log.warning("changes of netlink family %d can't be followed: %s", protocol, error.strerror)
    return sockets


def _listener(name: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
    try:
        sock.bind(f"\0{name}")
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def _resolver(name: str) -> socket.socket | None:
    try:
        return _listener(name + abi.RESOLVER)
    except OSError as error:
        log.warning("the broker's resolver can't be opened: %s", error.strerror)
        return None


def presence(path: str | None, names: set[bytes]) -> dict[bytes, socket.socket]:
    """Sockets in the namespace at a path that only bind names, without those that somebody has already.

    OSError when not all are bound then.
    """
    return _hints(names) if path is None else netns.inside(path, lambda: _hints(names))


def _hints(names: set[bytes]) -> dict[bytes, socket.socket]:
    made: dict[bytes, socket.socket] = {}
    try:
        for name in sorted(names, key=presence_names.FLAGS.__contains__):  # those last
            made[name] = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            try:
                made[name].bind(name)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                made.pop(name).close()
    except OSError:
        for sock in made.values():
            sock.close()
        raise
    return made


def listeners(path: str | None) -> set[Address] | None:
    """All listeners with the preload library in the namespace at a path; None when that can't be said."""
    try:
        return _listeners() if path is None else netns.inside(path, _listeners)
    except (NoNamespace, OSError):
        return None


def _listeners() -> set[Address] | None:
    try:
        with Path("/proc/thread-self/net/unix").open("rb") as file:
            table = file.read(MOST_OF_TABLE)
    except OSError:
        return None
    return abi.listeners(table) if len(table) < MOST_OF_TABLE else None


def _watch(protocol: int, groups: int) -> socket.socket:
    kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    sock = socket.socket(socket.AF_NETLINK, kind, protocol)
    try:
        sock.bind((0, groups))
    except OSError:
        sock.close()
        raise
    return sock


def drain(watch: socket.socket, most: int = 64) -> None:
    """Take what there is to read, or much of it; what it was does not matter, nor whether some was lost."""
    try:
        for _ in range(most):
            watch.recv(1)
    except BlockingIOError:
        pass
    except OSError as error:
        log.debug("news of a namespace: %s", error)  # ENOBUFS: more than the socket could hold


def is_bound(probe: socket.socket, names: Sequence[bytes]) -> bool:
    """Whether one of these abstract names is that of a datagram socket in the probe's namespace."""
    for name in names:
        try:
            probe.connect(name)
        except OSError:
            continue
        return True
    return False
