"""Partition daemons as systemd units: systemd starts, confines and watches them, and we tell it which there are."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from vnicd.config import NETWORK_SERVICE, SERVICE, Paths
from vnicd.errors import VnicdError
from vnicd.host.partitions import last_words
from vnicd.host.partitions.supervisor import Supervisor
from vnicd.host.ports.port import Port

log = logging.getLogger(__name__)

PREFIX, SUFFIX = "vnicd-partition@", ".service"
UNIT_LOOK_S = 0.5
"""Seconds between two looks at a unit whose daemon is waited for."""

SHOWN = "LoadState,ActiveState,NRestarts,InvocationID,ExecMainCode,ExecMainStatus"

NOT_ENABLED = {"disabled", "masked", "masked-runtime"}

HOST = ("vnicd.socket", SERVICE)
"""Of the default network. The socket first, or it starts the service again."""

NETWORK_HOST = NETWORK_SERVICE.partition("{")[0]
"""What the unit of another network's hosting daemon begins with."""

DROP_INS = Path("/run/systemd/system")
"""Where what we add to a unit lasts until the next boot."""

_FITTING = re.compile(r"[A-Za-z0-9_-]{1,25}")
"""Names that make a user name of 31 characters at most, as the template makes it: `vnicd-NAME`."""


def instance(name: str, network: str = "") -> str:
    """A partition as its unit has it: no other network's is called so, and names need no escaping there.

    A user's name may have an @ as far as systemd reads it in a template, but no colon.
    """
    return f"{name}@{network}" if network else name


def unit_name(name: str, network: str = "") -> str:
    """The unit of a partition."""
    return f"{PREFIX}{instance(name, network)}{SUFFIX}"


def host_units(network: str = "") -> tuple[str, ...]:
    """Those of the hosting daemon, the one that starts others first."""
    return (NETWORK_SERVICE.format(network),) if network else HOST


def user_drop_in(name: str, network: str = "") -> str:
    """What the unit of a partition needs beside the template to have a user of its own; empty for most names.

    The user's name is a hash, which no other partition's is: systemd takes names of 31 characters, without dots.
    """
    whole = instance(name, network)
    if _FITTING.fullmatch(whole):
        return ""
    return f"[Service]\nUser=vnicd_{hashlib.blake2s(whole.encode(), digest_size=8).hexdigest()}\n"


def unit_of(pid: int) -> str:
    """The unit that a process belongs to, by its control group, which only root can change; empty when unknown."""
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    except OSError:
        return ""
    groups = [line.split(":", 2)[2] for line in lines if line.startswith("0::")]
    parts = groups[0].split("/") if groups else []
    return next((part for part in reversed(parts) if part.endswith(SUFFIX)), "")


async def stop_unit_of(pid: int) -> bool:
    """Stop the unit of ours that a daemon is in, which systemd would start again else; False when it is in none."""
    unit = unit_of(pid)
    if unit not in HOST and not unit.startswith((PREFIX, NETWORK_HOST)):
        return False
    await systemctl("stop", *(HOST if unit in HOST else (unit,)))
    return True


def has_systemd() -> bool:
    """Whether this machine was booted with systemd (sd_booted(3))."""
    return Path("/run/systemd/system").is_dir()


async def systemctl(*words: str) -> bool:
    """Whether systemd does it; why not is logged. VnicdError when it can't be asked."""
    null = asyncio.subprocess.DEVNULL
    pipe = asyncio.subprocess.PIPE
    try:
        child = await asyncio.create_subprocess_exec(
            "systemctl", *words, stdin=null, stdout=null, stderr=pipe
        )
    except OSError as error:
        raise VnicdError(f"systemctl can't be run: {error.strerror}") from error
    _, complaint = await child.communicate()
    if child.returncode:
        log.error("systemctl %s: %s", " ".join(words), complaint.decode(errors="replace").strip())
    return not child.returncode


async def output_of(*words: str) -> str:
    """What a program of systemd prints; empty when it can't be run or fails."""
    null, pipe = asyncio.subprocess.DEVNULL, asyncio.subprocess.PIPE
    try:
        child = await asyncio.create_subprocess_exec(*words, stdin=null, stdout=pipe, stderr=null)
    except OSError:
        return ""
    printed, _ = await child.communicate()
    return printed.decode(errors="replace")


async def show(unit: str) -> dict[str, str]:
    """What systemd knows of a unit: SHOWN, as far as it knows that."""
    printed = await output_of("systemctl", "show", f"--property={SHOWN}", unit)
    return dict(line.split("=", 1) for line in printed.splitlines() if "=" in line)


def is_ended_for_good(states: str, jobs: str) -> bool:
    """Whether the service that ends is not to start by itself, by what systemctl prints: states of HOST, and jobs."""
    if not states.split() or not set(states.split()) <= NOT_ENABLED:
        return False
    rows = [line.split() for line in jobs.splitlines()]
    return not any(row[1:2] == [SERVICE] and row[2:3] != ["stop"] for row in rows)


def how_ended(facts: Mapping[str, str]) -> str:
    """How the last process of a unit has ended; empty when none has, or well."""
    status = facts.get("ExecMainStatus", "")
    code = int(status) if status.isdigit() else 0
    by_signal = facts.get("ExecMainCode") in ("2", "3")  # CLD_KILLED, CLD_DUMPED
    return last_words.how(-code if by_signal else code) if code else ""


async def said_in(runs: Iterable[str]) -> str:
    """The last line in the journal of these runs of a unit, known by their invocation ids."""
    matches = [f"_SYSTEMD_INVOCATION_ID={run}" for run in dict.fromkeys(runs) if run]
    if not matches:
        return ""
    words = ("journalctl", "--quiet", "--no-pager", "--output=cat", "--lines=1", *matches)
    return last_words.in_text(await output_of(*words))


def drop_ins_of(name: str, network: str = "") -> Path:
    """The folder of what we add to the unit of a partition."""
    return DROP_INS / f"{unit_name(name, network)}.d"


async def give_user(name: str, network: str = "") -> None:
    """Add what the unit of a partition needs for a user of its own, which for most names is nothing."""
    text, path = user_drop_in(name, network), drop_ins_of(name, network) / "user.conf"
    try:
        if not text or (path.exists() and path.read_text() == text):
            return
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        path.write_text(text)
    except OSError as error:
        log.error("%s can't be given a user: %s", unit_name(name, network), error)
        return
    await systemctl("daemon-reload")


async def stop(name: str, network: str = "") -> None:
    """Stop the unit of a partition that is no more, and take away what we added to it."""
    await systemctl("stop", unit_name(name, network))
    take_user(name, network)


def take_user(name: str, network: str = "") -> None:
    """Take away what give_user() has added; what others have put beside it stays."""
    with suppress(OSError):
        (drop_ins_of(name, network) / "user.conf").unlink()
        drop_ins_of(name, network).rmdir()


class Units(Supervisor):
    """Starts and stops `vnicd-partition@NAME.service`; whatever process registers from within that unit is its daemon.

    So a unit that was restarted by systemd, or by hand, is taken in again without a word from us.
    """

    def __init__(self, paths: Paths, on_death: Callable[[Port], None]) -> None:
        super().__init__(paths, on_death)
        self.network = paths.network

    def unit_of_port(self, port: Port) -> str:
        return unit_name(port.spec.name, self.network)

    def start(self, port: Port) -> None:
        port.daemon_started()
        self.born(port)
        self.tell(self._start(port))

    async def _start(self, port: Port) -> None:
        """A unit that can't be started is as good as a daemon that has died: nobody else would try it again."""
        name = port.spec.name
        unit = unit_name(name, self.network)
        why = f"{unit} can't be started"
        try:
            await give_user(name, self.network)
            if await systemctl("start", "--no-block", unit):
                return
        except VnicdError as error:
            why = error.line()
        self.deaths_of(port).add(why)
        self.on_death(port)

    def adopt(self, port: Port, pid: int, pidfd: int) -> None:
        """Watch it, and have its unit ready to be started anew: that of an older version had no need of a user."""
        super().adopt(port, pid, pidfd)
        self.tell(give_user(port.spec.name, self.network))

    def owns(self, port: Port, pid: int) -> bool:
        return unit_of(pid) == self.unit_of_port(port)

    def owner(self, ports: Iterable[Port], pid: int) -> Port | None:
        """With one look at /proc, as processes that are nobody's daemon may ask for it again and again."""
        unit = unit_of(pid)
        return next((port for port in ports if self.unit_of_port(port) == unit), None)

    def has_daemon(self, port: Port) -> bool:
        """Always: a unit whose daemon has died is started again by systemd, unless it was told to stop."""
        return True

    async def hopeless(self, port: Port) -> str:
        """By looking at the unit again and again: systemd tells nobody of a daemon that has not registered."""
        unit, runs, ending = self.unit_of_port(port), [], ""
        while True:
            await asyncio.sleep(UNIT_LOOK_S)
            facts = await show(unit)
            if facts.get("LoadState", "loaded") != "loaded":
                return f"{unit}: {facts['LoadState']}"
            runs.append(facts.get("InvocationID", ""))
            ending = how_ended(facts) or ending  # of one that runs just now, systemd tells no more
            restarts = facts.get("NRestarts", "")
            has_failed = facts.get("ActiveState") == "failed"
            if has_failed or (restarts.isdigit() and int(restarts) >= last_words.HOPELESS_AFTER):
                return last_words.together(ending, await said_in(runs))

    async def last_words(self, port: Port) -> str:
        facts = await show(self.unit_of_port(port))
        return last_words.together(how_ended(facts), await said_in([facts.get("InvocationID", "")]))

    async def end(self, port: Port) -> None:
        await self.settle()  # or a start that was asked for before may come after it
        await systemctl("stop", self.unit_of_port(port))

    def withdraw(self, port: Port) -> None:
        take_user(
            port.spec.name, self.network
        )  # not before: the unit may be started anew at the moment when it has ended

    def prepare(self) -> None:
        """systemd starts each of them, and none before it is asked for."""

    def close(self) -> None:
        """They are systemd's."""

    async def service_stopped(self) -> None:
        """End the socket of a service that nobody has enabled, or whoever asks something starts the service again.

        `systemctl disable --now` ends the service alone, and systemd has no relation of units that would end the socket
        with it, but neither with a restart nor with a crash. What ends us for a restart has a job of that name.
        """
        if self.network:  # it has no socket
            return
        states, jobs = await asyncio.gather(
            output_of("systemctl", "is-enabled", *HOST),
            output_of("systemctl", "list-jobs", "--plain", "--no-legend"),
        )
        if is_ended_for_good(states, jobs):
            await systemctl("stop", "--no-block", HOST[0])

    async def end_service(self) -> None:
        await systemctl("stop", "--no-block", *host_units(self.network))
