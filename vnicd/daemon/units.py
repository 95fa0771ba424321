"""Partition daemons as systemd units: systemd starts, confines and watches them, and we tell it which there are."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from vnicd.daemon.ports import Port
from vnicd.daemon.supervisor import Supervisor
from vnicd.errors import VnicdError

log = logging.getLogger(__name__)

PREFIX, SUFFIX = "vnicd-partition@", ".service"
HOST = ("vnicd.socket", "vnicd.service")
"""The socket first, or it starts the service again."""


def unit_name(name: str) -> str:
    """The unit of a partition; partition names need no escaping there."""
    return f"{PREFIX}{name}{SUFFIX}"


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
    if unit not in HOST and not unit.startswith(PREFIX):
        return False
    await systemctl("stop", *(HOST if unit in HOST else (unit,)))
    return True


def has_systemd() -> bool:
    """Whether this machine was booted with systemd (sd_booted(3))."""
    return Path("/run/systemd/system").is_dir()


async def systemctl(*words: str) -> None:
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


class Units(Supervisor):
    """Starts and stops `vnicd-partition@NAME.service`; whatever process registers from within that unit is its daemon.

    So a unit that was restarted by systemd, or by hand, is taken in again without a word from us.
    """

    def start(self, port: Port) -> None:
        port.state = "starting"
        self.born(port)
        self.tell(systemctl("start", "--no-block", unit_name(port.spec.name)))

    def owns(self, port: Port, pid: int) -> bool:
        return unit_of(pid) == unit_name(port.spec.name)

    def has_daemon(self, port: Port) -> bool:
        """Always: a unit whose daemon has died is started again by systemd, unless it was told to stop."""
        return True

    async def end(self, port: Port) -> None:
        await self.settle()  # or a start that was asked for before may come after it
        await systemctl("stop", unit_name(port.spec.name))

    async def end_service(self) -> None:
        await systemctl("stop", "--no-block", *HOST)
