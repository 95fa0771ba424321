"""The machine's NIC: what it is and can do at present, and the claim of one fabric on it."""

from __future__ import annotations

import fcntl
import os
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from vnicd.errors import Busy
from vnicd.kernel import ethtool
from vnicd.kernel.interface import index_of

ARPHRD_ETHER = 1
IFF_UP, IFF_LOOPBACK = 0x1, 0x8
SCOPE_GLOBAL = 0
TABLE_MAIN = 254
RUN = Path("/run")

CLAIM_TRIES, CLAIM_PAUSE_S = 3, 0.01
"""Looks at a claim that others have, which may be over in a moment."""


@dataclass(frozen=True)
class Facts:
    """A NIC as it is at the moment."""

    index: int
    name: str
    mac: str
    mtu: int
    up: bool
    """Whether it is switched on."""
    carrier: bool
    """Whether its cable leads anywhere."""
    speed_mbit: int | None
    offloads: dict[str, bool]
    """Those of ethtool.FEATURES: True for those that are on."""
    addresses: tuple[str, ...]
    """The machine's own on it, with prefix lengths; only those of global scope."""
    default_route: bool
    """Whether a default route of the machine leads through it."""
    ethernet: bool


def look(nic: str) -> Facts | None:
    """The facts of the NIC of that name in this namespace, None when there is none."""
    index = index_of(nic)
    if index is None:
        return None
    try:
        with IPRoute(strict_check=True) as route:
            link = route.link("get", index=index)[0]
            addresses = _addresses(route, index)
            default_route = _has_default_route(route, index)
    except NetlinkError:
        if index_of(nic) is None:
            return None  # it has just gone
        raise
    offloads, speed = ethtool.query(index)
    flags = link["flags"]
    return Facts(
        index,
        link.get_attr("IFLA_IFNAME"),
        link.get_attr("IFLA_ADDRESS") or "",
        link.get_attr("IFLA_MTU"),
        bool(flags & IFF_UP),
        bool(link.get_attr("IFLA_CARRIER")),
        speed,
        offloads,
        addresses,
        default_route,
        link["ifi_type"] == ARPHRD_ETHER and not flags & IFF_LOOPBACK,
    )


def machine_addresses() -> frozenset[str]:
    """All addresses of this namespace's interfaces, without prefix lengths."""
    with IPRoute(strict_check=True) as route:
        return frozenset(
            each.get_attr("IFA_LOCAL") or each.get_attr("IFA_ADDRESS") for each in route.get_addr()
        )


def networks() -> list[tuple[str, str]]:
    """The interfaces of this namespace and their addresses of global scope, with prefix lengths."""
    with IPRoute(strict_check=True) as route:
        names = {each["index"]: each.get_attr("IFLA_IFNAME") for each in route.get_links()}
        return [
            (names.get(each["index"], "?"), _text(each))
            for each in route.get_addr()
            if each["scope"] == SCOPE_GLOBAL
        ]


def _text(address: Any) -> str:
    return f"{address.get_attr('IFA_LOCAL') or address.get_attr('IFA_ADDRESS')}/{address['prefixlen']}"


def _addresses(route: IPRoute, index: int) -> tuple[str, ...]:
    return tuple(_text(each) for each in route.get_addr(index=index) if each["scope"] == SCOPE_GLOBAL)


def _has_default_route(route: IPRoute, index: int) -> bool:
    """Whether the main table has one; the kernel leaves out routes of other interfaces."""
    return any(
        each["dst_len"] == 0
        for family in (socket.AF_INET, socket.AF_INET6)
        for each in route.route("dump", family=family, table=TABLE_MAIN, oif=index)
    )


def namespace() -> int:
    """What tells this thread's network namespace from others: its inode."""
    return Path("/proc/thread-self/ns/net").stat().st_ino


def sweep() -> None:
    """Remove the files of claims whose processes are no more."""
    for path in RUN.glob(f"vnicd-{namespace()}-nic-*.lock"):
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
        except BlockingIOError:
            pass  # somebody's
        finally:
            os.close(fd)


def claim(index: int, name: str, shares: bool = False) -> int:
    """A descriptor that stands for this fabric's claim on the NIC of that index; Busy when another has it.

    With `shares` others may have one, if they share it, too. The claim ends with the process, or with `release`.
    """
    path = _claim_path(index)
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _lock(fd, shares)
        except BlockingIOError as error:
            owner = os.pread(fd, 32, 0).decode().strip()
            os.close(fd)
            raise _claimed(name, owner) from error
        if _is_at(fd, path):
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
            return fd
        os.close(fd)  # its owner has removed it between our open and lock


def change_claim(fd: int, name: str, shares: bool) -> None:
    """Have a claim that is, or is not, shared with others; when it can't be, it stays, and Busy is raised."""
    try:
        _lock(fd, shares)
    except BlockingIOError as error:  # the kernel has let go of the lock that there was
        fcntl.flock(fd, fcntl.LOCK_SH)
        raise _claimed(name, os.pread(fd, 32, 0).decode().strip()) from error


def _lock(fd: int, shares: bool) -> None:
    """BlockingIOError when others have it; not when one has it for a moment only, to look or to remove the file."""
    kind = fcntl.LOCK_SH if shares else fcntl.LOCK_EX
    for _ in range(CLAIM_TRIES):
        try:
            fcntl.flock(fd, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(CLAIM_PAUSE_S)
        else:
            return
    fcntl.flock(fd, kind | fcntl.LOCK_NB)


def check_unclaimed(index: int, name: str, shares: bool = False) -> None:
    """Busy when another fabric has a claim on the NIC of that index; not to be asked by who has it.

    With `shares`, when it does not share it.
    """
    try:
        fd = os.open(_claim_path(index), os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        _lock(fd, shares)
    except BlockingIOError as error:
        raise _claimed(name, os.pread(fd, 32, 0).decode().strip()) from error
    finally:
        os.close(fd)


def _claim_path(index: int) -> Path:
    return RUN / f"vnicd-{namespace()}-nic-{index}.lock"


def _claimed(name: str, owner: str) -> Busy:
    return Busy(
        f"{name} is the uplink of another fabric (process {owner or 'unknown'})",
        "clear its uplink first: VNICD_RUNTIME_DIR=... vnicctl uplink clear",
    )


def release(fd: int) -> None:
    """Give up a claim; its file goes with the last one."""
    with suppress(BlockingIOError):
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        Path(f"/proc/self/fd/{fd}").readlink().unlink(missing_ok=True)
    os.close(fd)


def _is_at(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False
