"""A machine of a test for container runtimes: network and mount namespaces of its own, and a fabric inside.

Runtimes write into /etc, /opt, /usr/local and /var/lib as they would anywhere, and nothing of that reaches this
machine: these folders are overlays in a tmpfs. Names of namespaces (/run/netns) are the machine's own, too. Processes
are seen from outside with the same PIDs.
"""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.framework.fabric.fabric import VNICCTL, Fabric
from tests.framework.fabric.partition import Argv, Partition
from tests.framework.waiting import wait_for_output, wait_until

SCRIPT = Path(__file__).with_name("machine.sh")
CGROUPS = Path("/sys/fs/cgroup")
START_TIMEOUT = 30


class RuntimeMachine:
    """Makes nothing by itself: `build` does. `close` ends all that runs in it, and takes it away."""

    def __init__(self, runtime: Path, tag: str) -> None:
        self.tag = tag
        self.folder = runtime.with_name(f"{runtime.name}-machine")
        """Scratch; a tmpfs within the machine, an empty folder from outside."""
        self.fabric = MachineFabric(self, runtime)
        self._holder: subprocess.Popen[bytes] | None = None
        self._closing = ExitStack()

    @property
    def pid(self) -> int:
        """A process that is in its namespaces as long as the machine is there."""
        assert self._holder is not None
        return self._holder.pid

    def build(self) -> RuntimeMachine:
        self.folder.mkdir(parents=True)
        argv = ["unshare", "--net", "--mount", "--propagation", "private", str(SCRIPT), str(self.folder)]
        self._holder = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0)
        assert self._holder.stdout is not None
        wait_for_output(self._holder.stdout, b"ready\n", START_TIMEOUT)
        return self

    def path(self, name: str | Path) -> Path:
        """A file of the machine, as it is called from outside."""
        return Path(f"/proc/{self.pid}/root", str(name).lstrip("/"))

    def write(self, name: str | Path, text: str) -> None:
        place = self.path(name)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)

    def inside(self, argv: Argv) -> Argv:
        """The command line that runs `argv` in the machine.

        It is nice: runtimes take whole CPUs for seconds, and what is tested beside them is judged by its gaps.
        """
        place = ["nsenter", f"--target={self.pid}", "--net", "--mount", "--wd=/", "--"]
        return ["nice", "-n", "10", *place, *argv]

    def run(
        self, argv: Argv, check: bool = True, timeout: float = 60, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """The finished command; AssertionError with its output if it failed and `check` is set."""
        options.setdefault("env", self.fabric.env)
        done = subprocess.run(
            self.inside(argv), check=False, capture_output=True, text=True, timeout=timeout, **options
        )
        if check and done.returncode:
            raise AssertionError(f"{' '.join(argv)}: exit {done.returncode}: {done.stdout}{done.stderr}")
        return done

    def popen(self, argv: Argv, **options: Any) -> subprocess.Popen[bytes]:
        """A running command; killed when the machine is closed at the latest."""
        options.setdefault("env", self.fabric.env)
        process = self._closing.enter_context(subprocess.Popen(self.inside(argv), bufsize=0, **options))
        self._closing.callback(process.kill)
        return process

    def on_close(self, act: Any, *arguments: Any) -> None:
        """Something to be called before the machine goes, the latest first."""
        self._closing.callback(act, *arguments)

    def processes(self) -> set[int]:
        """Those in its mount namespace or in its network namespace but the holder, and what they have started."""
        found: set[int] = set()
        parents: dict[int, int] = {}
        ours = {_namespace(self.pid, kind) for kind in ("mnt", "net")}
        for place in Path("/proc").glob("[0-9]*"):
            pid = int(place.name)
            with suppress(OSError, IndexError, ValueError):
                parents[pid] = int((place / "stat").read_text().rsplit(")", 1)[1].split()[1])
                if ours & {_namespace(pid, kind) for kind in ("mnt", "net")}:
                    found.add(pid)
        while more := {pid for pid, parent in parents.items() if parent in found} - found:
            found |= more
        return found - {self.pid}

    def close(self) -> None:
        """Ends runtimes and fabric, then whatever is left, such as monitors of containers that were forgotten."""
        if self._holder is None:
            return
        try:
            with ExitStack() as stack:
                stack.callback(self._end)
                stack.callback(self.fabric.close)
                stack.push(self._closing)
        finally:
            self._holder.wait(START_TIMEOUT)
            self.folder.rmdir()
            self._remove_groups()

    def _end(self) -> None:
        def none_is_left() -> bool:
            pids = self.processes()
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return not pids

        assert self._holder is not None and self._holder.stdout is not None
        wait_until(none_is_left, START_TIMEOUT, "no process of the machine is left")
        self._holder.kill()
        self._holder.stdout.close()

    @property
    def cgroup(self) -> str:
        """The parent of its containers' groups, in each hierarchy."""
        return f"/vnicd-{self.tag}"

    def _remove_groups(self) -> None:
        for root in [CGROUPS, *CGROUPS.iterdir()]:
            top = root / self.cgroup.lstrip("/")
            for place, _, _ in os.walk(top, topdown=False):
                with suppress(OSError):
                    Path(place).rmdir()


def _namespace(pid: int, kind: str) -> int:
    return Path(f"/proc/{pid}/ns/{kind}").stat().st_ino


class MachineFabric(Fabric):
    """A fabric whose daemons, and vnicctl, run in a machine for containers."""

    def __init__(self, machine: RuntimeMachine, runtime: Path) -> None:
        super().__init__(runtime, machine.tag)
        self.machine = machine

    def _vnicctl(self, argv: tuple[str, ...]) -> Argv:
        return self.machine.inside([str(VNICCTL), *argv])

    def partition(self, label: str) -> Partition:
        found = super().partition(label)
        return replace(found, netns=str(self.machine.path(found.netns)))

    def namespace(self, label: str) -> str:
        """It goes with the machine."""
        name = self.name(label)
        self.machine.run(["ip", "netns", "add", name])
        return name
