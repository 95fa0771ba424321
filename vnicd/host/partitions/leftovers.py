"""Leftovers: what a fabric has made and forgotten, as when its files are deleted while it has no hosting daemon.

Theory of operation. Each namespace that vnicd makes bears a mark, which says whose it is (kernel_ops.mark), and each
daemon has its runtime directory in its environment. What bears this fabric's name and is not in its state is a
leftover. `vnicctl doctor` names it, `vnicctl down` takes it away, and so does the addition of a partition of its name,
unless processes run in the namespace: whose program it is that would be left without a network, the user must know.
A namespace that was given by --netns has no mark; if it is a leftover itself, it is left alone while it is in use.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vnicd.config import DEFAULT_RUNTIME_DIR, Paths
from vnicd.errors import Exists, NotPermitted, VnicdError
from vnicd.host.partitions import kernel_ops, systemd_units
from vnicd.host.partitions.executor import Executor
from vnicd.host.partitions.supervisor import TERM_TIMEOUT_S
from vnicd.host.ports import state_file
from vnicd.host.ports.port import Ports
from vnicd.kernel import netns, process
from vnicd.process.privileges import may_be_partition
from vnicd.spec.partition import PartitionSpec, is_name

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Daemon:
    pid: int
    started: int
    partition: str
    """Empty for a hosting daemon."""


@dataclass(frozen=True)
class Leftover:
    """What is left of one partition."""

    name: str
    namespace: bool
    daemons: tuple[Daemon, ...]
    inhabitants: tuple[int, ...]
    """Processes in the namespace; its daemon is not one of them."""


class Leftovers:
    def __init__(self, root: Path, ports: Ports, actions: Executor) -> None:
        self.root = root
        self.ports = ports
        self.actions = actions
        self.lock = asyncio.Lock()

    @asynccontextmanager
    async def room_for(self, spec: PartitionSpec) -> AsyncIterator[None]:
        """Take away what has the place of a new partition; Exists when processes are in it.

        Inside, the partition is to be entered into the ports: then nobody takes it for a leftover.
        """
        async with self.lock:
            is_new = spec.owns_netns and spec.name not in self.ports.by_name
            if is_new and Path(spec.netns_path).exists():
                others = [port.spec for port in self.ports]
                for leftover in await self.actions.kernel(lambda: find(self.root, others, spec.name)):
                    check_uninhabited(leftover)
                    await self._remove(leftover)
            yield

    async def remove_all(self, used: Collection[PartitionSpec]) -> None:
        """Take away all that is no part of partitions that are still in use; what can't be is logged."""
        for leftover in await self.actions.kernel(lambda: find(self.root, used)):
            try:
                await self._remove(leftover)
            except (VnicdError, OSError) as error:
                log.error("what is left of partition %s can't be taken away: %s", leftover.name, error)

    async def end_hosts(self) -> None:
        """End hosting daemons that have lost their files, and so their lock to us: they would make all anew."""
        for daemon in await self.actions.kernel(lambda: hosts(self.root)):
            await _end(daemon)

    async def _remove(self, leftover: Leftover) -> None:
        log.warning("what is left of an earlier partition %s is taken away", leftover.name)
        for daemon in leftover.daemons:
            await _end(daemon)
        if _may_be_service(self.root) and systemd_units.has_systemd():
            # It may be just about to be started again.
            await systemd_units.stop(leftover.name, Paths(self.root).network)
        if leftover.namespace:
            sign = kernel_ops.mark(self.root, leftover.name)
            await self.actions.kernel(lambda: kernel_ops.delete_marked(leftover.name, sign))


def _may_be_service(root: Path) -> bool:
    """Whether it is a fabric that can be a service: the default network of the machine, or one beside it."""
    return os.path.realpath(Paths(root).default.root) == os.path.realpath(DEFAULT_RUNTIME_DIR)


async def _end(daemon: Daemon) -> None:
    pidfd = process.open_process(daemon.pid, daemon.started)
    if pidfd is None:
        return
    try:
        if not await systemd_units.stop_unit_of(daemon.pid):
            await asyncio.to_thread(process.end, pidfd, TERM_TIMEOUT_S)
    except PermissionError as error:  # a confined hosting daemon, and no unit that it could have stopped
        text = f"process {daemon.pid}, which is left of an earlier fabric, can't be ended"
        raise NotPermitted(text, f"kill -9 {daemon.pid}") from error
    finally:
        os.close(pidfd)


def check_uninhabited(leftover: Leftover) -> None:
    if leftover.inhabitants:
        raise Exists(
            f"a namespace named {leftover.name} is left of an earlier fabric, and {_list(leftover.inhabitants)} in it",
            "end that, or let go of it with: vnicctl down",
        )


# -------------------------------------------------------------------------------------------- looking


def find(root: Path, known: Collection[PartitionSpec], only: str = "") -> list[Leftover]:
    """The orphans, or that of one name, of the fabric in `root`, to which these partitions are `known`. Blocking."""
    owned = {spec.name for spec in known if spec.owns_netns}
    in_use = {netns.identity(spec.netns_path) for spec in known if not spec.owns_netns}
    named = {only} if only else {path.name for path in _names()}
    places = {
        name: place
        for name in named - owned
        if (place := netns.identity(str(netns.NETNS_DIR / name))) not in in_use
        and kernel_ops.is_marked(name, kernel_ops.mark(root, name))
    }
    names = {spec.name for spec in known}
    lonely = [each for each in daemons(root) if each.partition and each.partition not in names]
    lost = set(places) | {each.partition for each in lonely if only in ("", each.partition)}
    return [
        Leftover(
            name,
            name in places,
            tuple(each for each in lonely if each.partition == name),
            tuple(process.inhabitants(places[name])) if name in places else (),
        )
        for name in sorted(lost)
    ]


def hosts(root: Path) -> list[Daemon]:
    """The hosting daemons of the fabric in `root`, without this process."""
    return [each for each in daemons(root) if not each.partition and each.pid != os.getpid()]


def _names() -> list[Path]:
    try:
        return list(netns.NETNS_DIR.iterdir())
    except OSError:
        return []


def daemons(root: Path) -> list[Daemon]:
    """All daemons of the fabric in `root`, whoever has started them, but for what other users only call so."""
    found = []
    for pid, words in process.command_lines():
        role = _role(words)
        name, _, network = role[1].partition("@") if len(role) == 2 else ("", "", "")
        if role[:1] != ["host"] and not (role[:1] == ["partition"] and is_name(name)):
            continue
        user = process.user(pid)
        if user is None or not (user == os.geteuid() or (role[0] == "partition" and may_be_partition(user))):
            continue
        try:
            place = process.variable(pid, "VNICD_RUNTIME_DIR") or DEFAULT_RUNTIME_DIR
            place = str(Paths(Path(place)).of_network(network).root) if network else place
            is_ours = process.shares_root(pid) and os.path.realpath(place) == os.path.realpath(root)
        except OSError:
            continue  # it has ended
        started = process.start_time(pid)
        if is_ours and started is not None:
            found.append(Daemon(pid, started, name if role[0] == "partition" else ""))
    return found


def _role(words: list[str]) -> list[str]:
    """What vnicd was told to be, by the command line of a process: `python -m vnicd ...`, `python .../vnicd ...`."""
    if words[1:3] == ["-m", "vnicd"]:
        return words[3:]
    return words[2:] if len(words) > 1 and words[1].endswith("/vnicd") else []


# ------------------------------------------------------------------------------------------ telling


def findings(paths: Paths) -> list[dict[str, Any]]:
    """A finding for each orphan, for `vnicctl doctor`; none while the state is damaged, which `vnicctl up` tells.

    A partition that comes meanwhile is in the later state, and one that goes is in the earlier.
    """
    try:
        known = [saved.spec for saved in state_file.load(paths.state)[0]]
        found = find(paths.root, known)
        names = {saved.spec.name for saved in state_file.load(paths.state)[0]} if found else set()
    except VnicdError:
        return []
    found = [leftover for leftover in found if leftover.name not in names]
    lonely = hosts(paths.root) if found and not paths.control.exists() else []
    if lonely:
        return [_lost_files(host.pid, paths.root) for host in lonely]
    return [_finding(leftover) for leftover in found]


def _lost_files(pid: int, root: Path) -> dict[str, Any]:
    stopped = process.is_stopped(pid)
    detail = f"the files of the hosting daemon, pid {pid}, in {root} were deleted"
    remedy = (
        f"kill -CONT {pid}: it is stopped, or it would make them anew" if stopped else "it makes them anew"
    )
    return {"name": "fabric", "status": "warn", "detail": detail, "remedy": remedy}


def _finding(leftover: Leftover) -> dict[str, Any]:
    """To add the partition again takes its orphan away, but not its inhabitants, nor a daemon without a namespace."""
    name, parts = leftover.name, []
    if leftover.namespace:
        parts.append(f"its namespace {name}")
    parts += [f"its daemon, pid {each.pid}" for each in leftover.daemons]
    detail = f"{name} is left of an earlier fabric, with {' and '.join(parts)}"
    if leftover.inhabitants:
        detail += f"; {_list(leftover.inhabitants)} in it"
    remedy = f"vnicctl down; or, to keep the rest: vnicctl partition add {name} ..."
    if leftover.inhabitants:
        remedy = f"end what runs there, or vnicctl down; to take its name alone: ip netns del {name}"
    elif not leftover.namespace:
        remedy = f"kill -9 {' '.join(str(each.pid) for each in leftover.daemons)}"
    return {"name": "orphan", "status": "warn", "detail": detail, "remedy": remedy}


def _list(pids: Collection[int]) -> str:
    shown = ", ".join(str(pid) for pid in list(pids)[:5])
    return f"process {shown} runs" if len(pids) == 1 else f"processes {shown}{', ...' * (len(pids) > 5)} run"
