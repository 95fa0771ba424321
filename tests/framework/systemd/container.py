"""A booted systemd in a container of its own: systemd-nspawn on an overlay of this machine's root.

The machine must not notice it: the container has a private network, what it writes is in a tmpfs, and it cannot
write the machine's own settings. Its programs are the machine's. `/proc/PID/root` of its first process is the way
to its files, and to the namespaces of its partitions.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.framework.waiting import wait_until
from vnicd.kernel.limits.hugepages import Overcommit

SCRIPT = Path(__file__).with_name("container.sh")
ROOT = Path(__file__).parents[3]
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
TOOLS = ("systemd-nspawn", "nsenter", "unshare", "setpriv", "dbus-daemon")
BOOT_TIMEOUT = 60


def missing() -> str:
    """Why no container can be booted here, or an empty text."""
    if os.geteuid() != 0:
        return "not root"
    if not Path("/dev/net/tun").exists():
        return "no /dev/net/tun"
    lacking = [tool for tool in TOOLS if not shutil.which(tool)]
    return f"not installed: {', '.join(lacking)}" if lacking else ""


class Container:
    """Boots nothing by itself: `boot` does. `close` shuts it down, and fails if anything of it is left."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        self.leader = 0
        """Its first process, as it is called out here."""
        self._process: subprocess.Popen[bytes] | None = None
        self._hugepages = Overcommit()

    def boot(self) -> Container:
        self._hugepages.acquire()  # the machine's limit is beyond its reach
        argv = ["setpriv", "--pdeathsig", "TERM", "unshare", "--mount", "--propagation", "private"]
        self._process = subprocess.Popen(
            [*argv, str(SCRIPT), self.name, str(ROOT)],
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            start_new_session=True,
        )
        self._wait_for_boot(former=0)
        return self

    def reboot(self) -> None:
        """As `systemctl reboot` does it: everything is stopped, and what is enabled is started again."""
        former = self.leader
        self.run(["systemctl", "reboot"], check=False)
        self._wait_for_boot(former)

    def _wait_for_boot(self, former: int) -> None:
        self.leader = wait_until(lambda: self._find_leader(former), BOOT_TIMEOUT, "the container's systemd")
        wait_until(self._is_booted, BOOT_TIMEOUT, f"{self.name} has booted")

    def _find_leader(self, former: int) -> int:
        """The first process of the container's PID namespace, unless it is that of the former boot."""
        assert self._process is not None
        assert self._process.poll() is None, f"the container did not boot:\n{self.output()}"
        for pid in descendants(self._process.pid):
            if pid != former and is_first(pid):
                return pid
        return 0

    def _is_booted(self) -> bool:
        done = self.run(["systemctl", "is-system-running"], check=False)
        return done.stdout.strip() in ("running", "degraded")

    def run(
        self, argv: Sequence[str], check: bool = True, timeout: float = 60, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """The finished command, which ran inside as root; AssertionError with its output if it failed."""
        done = subprocess.run(
            self.inside(argv), check=False, capture_output=True, text=True, timeout=timeout, **options
        )
        if check and done.returncode:
            raise AssertionError(
                f"{' '.join(argv)}: exit {done.returncode}: {done.stdout}{done.stderr}\n{self.journal()}"
            )
        return done

    def inside(self, argv: Sequence[str]) -> list[str]:
        """The command line that runs `argv` in the container."""
        enter = ["nsenter", f"--target={self.leader}", "--all", "--", "env", "-i"]
        return [*enter, f"PATH={PATH}", "LANG=C.UTF-8", *argv]

    def systemctl(self, *argv: str, check: bool = True) -> str:
        return self.run(["systemctl", *argv], check=check).stdout

    def show(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.systemctl("show", "--value", f"--property={name}", unit).strip()

    def journal(self, *options: str) -> str:
        """What the journal says since the boot, without times and hosts."""
        argv = ["journalctl", "--boot", "--no-pager", "--output=cat", *(options or ("--lines=60",))]
        return self.run(argv, check=False).stdout

    def path(self, name: str) -> Path:
        """A file of the container, as it is called out here."""
        return Path(f"/proc/{self.leader}/root") / name.lstrip("/")

    @property
    def written(self) -> Path:
        """The folder that has what differs from the machine's files; device nodes 0/0 stand for what was removed."""
        assert self._process is not None
        return Path(f"/proc/{self._process.pid}/root/var/tmp/{self.name}/upper")

    def pid_here(self, pid: int) -> int:
        """How a process of the container is called out here."""
        return next(one for one in descendants(self.leader) if numbers(one)[-1] == pid)

    def output(self) -> str:
        """What the console has shown."""
        self.log.seek(0)
        return self.log.read().decode(errors="replace")[-5000:]

    def close(self) -> None:
        process = self._process
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                for pid in descendants(process.pid):
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                process.wait(30)
        self._hugepages.release()
        left = [str(place) for place in self.places() if place.exists()]
        assert not left, f"left behind by the container: {left}\n{self.output()}"
        self.log.close()

    def places(self) -> list[Path]:
        """What there is of it on the machine while it runs."""
        groups = [
            Path(line.split()[1])
            for line in Path("/proc/mounts").read_text().splitlines()
            if line.split()[2] == "cgroup2"
        ]
        return [Path("/var/tmp") / self.name, *(group / self.name for group in groups)]


def descendants(pid: int) -> list[int]:
    """The processes below a process, nearest first."""
    found: list[int] = []
    level = [pid]
    while level:
        below: list[int] = []
        for parent in level:
            with suppress(OSError):
                below += map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text().split())
        found += below
        level = below
    return found


def numbers(pid: int) -> list[int]:
    """What a process is called in our PID namespace and those below; nothing fits when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return [-1]
    return [int(text) for line in lines if line.startswith("NSpid:") for text in line.split()[1:]]


def is_first(pid: int) -> bool:
    """Whether a process is number 1 of a PID namespace below ours, and systemd already."""
    found = numbers(pid)
    try:
        name = Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return False
    return len(found) > 1 and found[-1] == 1 and name == "systemd"
