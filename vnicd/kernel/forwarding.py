"""What nat mode needs of the machine: that it forwards packets between its NIC and port 0's interface.

Only what is needed is switched on: forwarding on these two interfaces. For IPv6 that takes Linux 6.17; before, it is
the whole machine or nothing, and a machine that forwards ignores router advertisements unless accept_ra is 2. So that
it keeps the routes it has from them, this is set first.

The settings belong to the machine, and its old values must come back also when a hosting daemon is killed. So they are
kept in a file, the ledger, as in vnicd.kernel.limits.raised: every daemon that needs the settings holds a shared lock
on it, the last one out puts the old values back, and a ledger that nobody holds is made up for by whoever comes by
next. Each network namespace has ledgers of its own, as it has settings of its own. A value that is no longer what we
set is the user's, and stays.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from vnicd.kernel.limits.raised import open_ledger
from vnicd.kernel.nic import namespace

CONF = Path("/proc/sys/net")
RUN = Path("/run")
WHOLE_MACHINE = CONF / "ipv6/conf/all/forwarding"
SO_NETNS_COOKIE = 71
FORCE = "force_forwarding"
"""The IPv6 setting of an interface that stands for itself (Linux 6.17)."""


class Step(NamedTuple):
    """A setting and its new value; `always` notes the old one also if it is the same."""

    path: Path
    value: str
    always: bool = False


class Settings:
    """This fabric's claim on some settings. `steps` tells which have to be changed, in this order."""

    def __init__(self, name: str, steps: Callable[[], list[Step]]) -> None:
        self.ledger = RUN / f"{_prefix()}{name}.lock"
        self.steps = steps
        self.fd = -1

    def acquire(self) -> list[Path]:
        """Set what is not set yet, and tell what that was; as often as you like."""
        changed = []
        if self.fd < 0:
            self.fd = open_ledger(self.ledger)
        fcntl.lockf(self.fd, fcntl.LOCK_EX)  # one at a time reads and changes the settings
        try:
            old = _read(self.fd)
            for step in self.steps():
                if not step.path.exists():
                    continue
                before = step.path.read_text().strip()
                if before != step.value or step.always:
                    old.setdefault(str(step.path), [before, step.value])
                    _write(self.fd, old)  # first: we may be killed at any time
                if before != step.value:
                    step.path.write_text(step.value)
                    changed.append(step.path)
        finally:
            fcntl.lockf(self.fd, fcntl.LOCK_UN)
        return changed

    def release(self) -> None:
        """Put back what no other fabric needs."""
        if self.fd >= 0:
            _settle(self.ledger, self.fd)
            os.close(self.fd)
            self.fd = -1


class Forwarding:
    """A fabric's need that packets pass between the interfaces `vnic` and `nic`."""

    def __init__(self, vnic: str, nic: str, ipv6: bool) -> None:
        self.vnic, self.nic, self.ipv6 = vnic, nic, ipv6
        self.before: dict[Path, str] = {}
        ipv4 = [Step(CONF / "ipv4/conf" / nic / "forwarding", "1")]
        self.claims = [Settings(f"ipv4-{nic}", lambda: ipv4)]
        if ipv6 and _alone(nic).exists():
            self.claims.append(Settings(f"ipv6-{nic}", lambda: [Step(_alone(nic), "1")]))
        elif ipv6:
            self.claims.append(Settings("ipv6", _whole_machine))

    def claim(self) -> list[str]:
        """Let packets pass; again when an interface was made anew. Tells the settings that were not so yet."""
        settle()
        changed = []
        own = [CONF / "ipv4/conf" / self.vnic / "forwarding", *([_alone(self.vnic)] if self.ipv6 else [])]
        for path in own:
            if path.exists() and (before := path.read_text().strip()) != "1":
                self.before.setdefault(path, before)
                path.write_text("1")
                changed.append(path)
        for claim in self.claims:
            changed += claim.acquire()
        return [setting(path) for path in changed]

    def settings(self) -> list[str]:
        """Those of the two interfaces, as claim() tells them."""
        paths = [CONF / "ipv4/conf" / each / "forwarding" for each in (self.vnic, self.nic)]
        if self.ipv6:
            one_by_one = _alone(self.nic).exists()
            paths += [_alone(each) for each in (self.vnic, self.nic)] if one_by_one else [WHOLE_MACHINE]
        return [setting(path) for path in paths]

    def release(self) -> None:
        """All is as before, unless another fabric needs it."""
        for claim in self.claims:
            claim.release()
        for path, before in self.before.items():
            if path.exists():  # else port 0's interface is gone, and its settings with it
                path.write_text(before)
        self.before.clear()
        settle()


class Loopback:
    """Whether the machine's own packets may go from 127.0.0.0/8 to an interface, and answers come back from there.

    It goes with the interface, which is port 0's, so there is nothing to put back. While it is so, firewall rules must
    keep everybody behind that interface from the machine's loopback addresses.
    """

    def __init__(self, vnic: str) -> None:
        self.path = CONF / "ipv4/conf" / vnic / "route_localnet"

    def allow(self, is_on: bool) -> bool:
        """Make it so; whether it was not so yet."""
        value = str(int(is_on))
        try:
            if self.path.read_text().strip() == value:
                return False
            self.path.write_text(value)
        except FileNotFoundError:  # the interface has just gone
            return False
        return True


def setting(path: Path) -> str:
    """What sysctl calls a setting: net.ipv4.conf.eth1.forwarding, with / for a dot in an interface's name."""
    return ".".join(part.replace(".", "/") for part in path.relative_to("/proc/sys").parts)


def forwards(interface: str) -> bool:
    """Whether the machine forwards IPv4 packets that come in by an interface, and not only for us or another fabric."""
    path = CONF / "ipv4/conf" / interface / "forwarding"
    return path.exists() and path.read_text().strip() != "0" and _noted(interface, path) != "0"


def machine_forwards(interface: str) -> bool:
    """Whether the machine would forward packets, of IPv4 or IPv6, that come in by an interface, or by all others."""
    paths = [
        *(CONF / "ipv4/conf" / name / "forwarding" for name in ("all", interface)),
        WHOLE_MACHINE,
        _alone(interface),
    ]
    return any(path.exists() and path.read_text().strip() != "0" for path in paths)


def _noted(interface: str, path: Path) -> str:
    """What a setting was before vnicd changed it; empty if it has not."""
    try:
        fd = os.open(RUN / f"{_prefix()}ipv4-{interface}.lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return next(iter(_read(fd).get(str(path), ())), "")
    finally:
        os.close(fd)


def settle() -> None:
    """Make up for fabrics that were killed in this namespace."""
    for ledger in RUN.glob(f"{_prefix()}*.lock"):
        try:
            fd = os.open(ledger, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            _settle(ledger, fd)
        finally:
            os.close(fd)


def _settle(ledger: Path, fd: int) -> None:
    """Put back the old values and remove the ledger, if nobody else holds it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    ours = [
        (path, before)
        for path, (before, after) in ((Path(text), values) for text, values in _read(fd).items())
        if path.exists() and path.read_text().strip() == after
    ]  # looked at before any is put back, as one may change others
    for path, before in ours:
        path.write_text(before)
    ledger.unlink(missing_ok=True)


def _alone(interface: str) -> Path:
    return CONF / "ipv6/conf" / interface / FORCE


def _whole_machine() -> list[Step]:
    """Forwarding of IPv6 by all interfaces; nothing if it is so already.

    Putting the whole machine's value back switches it off on each interface. Those that had it on are noted.
    """
    conf = CONF / "ipv6/conf"
    if not WHOLE_MACHINE.exists() or WHOLE_MACHINE.read_text().strip() != "0":
        return []
    keep, again = [], []
    for directory in sorted(conf.iterdir()):
        forwards = (directory / "forwarding").read_text().strip() != "0"
        if forwards:
            again.append(Step(directory / "forwarding", "1", always=True))
        elif directory.name != "all" and (directory / "accept_ra").read_text().strip() == "1":
            keep.append(Step(directory / "accept_ra", "2"))
    return [*keep, Step(WHOLE_MACHINE, "1"), *again]


def _prefix() -> str:
    return f"vnicd-{namespace()}-forwarding-"


def _identity() -> str:
    """What no other namespace has, while an inode is used again: a ledger of a namespace that is gone is void."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            cookie = sock.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8).hex()
    except OSError:
        cookie = ""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + cookie


def _read(fd: int) -> dict[str, list[str]]:
    """The old and the new value of each setting, by its path."""
    text = os.pread(fd, 1 << 20, 0).decode()
    if not text:
        return {}
    ledger: dict[str, Any]
    ledger, _ = json.JSONDecoder().raw_decode(text)  # an older, longer one may still show behind it
    return dict(ledger["settings"]) if ledger.get("namespace") == _identity() else {}


def _write(fd: int, settings: dict[str, list[str]]) -> None:
    text = json.dumps({"namespace": _identity(), "settings": settings}).encode()
    os.pwrite(fd, text, 0)
    os.ftruncate(fd, len(text))
