"""A fabric of a test: its own runtime directory, its own partition names, taken down whatever happens."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path
from shutil import rmtree
from typing import Any, TypeVar

from tests.framework import forked_cli
from tests.framework.fabric.leaks import ETC
from tests.framework.fabric.machine import daemons, memfds, paths_below
from tests.framework.fabric.namespaces import NETNS, named
from tests.framework.fabric.partition import Argv, Partition
from tests.framework.waiting import wait_until
from vnicd.process import trace_files
from vnicd.protocol.control import Client

OWN_VNICCTL = Path(sys.executable).with_name("vnicctl")
VNICCTL = OWN_VNICCTL
"""The one that fabrics use; that of another installation, where it is to be tried."""

M = TypeVar("M", bound=AbstractContextManager[Any])


def memory_due(ports: int, links: int) -> int:
    """Memory files of a whole fabric: directory, the host's counters, the broker's table; one a port; two a link."""
    return 3 + ports + 2 * links


class Fabric:
    """Starts nothing by itself: `up` does. `close` takes all down and fails when something stays behind."""

    def __init__(self, runtime: Path, tag: str, netns: str = "") -> None:
        self.runtime, self.tag = runtime, tag
        self.netns = netns
        """Path of the namespace that its host is started in; empty for that of the tests."""
        self.env = {**os.environ, "VNICD_RUNTIME_DIR": str(runtime)}
        self._stack = ExitStack()

    def name(self, label: str) -> str:
        """The partition name for a label: other fabrics on the machine do not have it."""
        return f"{label}-{self.tag}"

    def on_close(self, thing: M) -> M:
        """`thing`, which is left when the fabric is closed."""
        self._stack.enter_context(thing)
        return thing

    def cli(self, *argv: str, check: bool = True, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """The finished vnicctl; AssertionError with its output when it failed and `check` is set."""
        done = self._finished(argv, timeout)
        if check and done.returncode:
            raise AssertionError(
                f"vnicctl {' '.join(argv)}: exit {done.returncode}: {done.stderr}{self.logs()}"
            )
        return done

    def _finished(self, argv: tuple[str, ...], timeout: float) -> subprocess.CompletedProcess[str]:
        command = self._vnicctl(argv)
        if command[0] == str(OWN_VNICCTL) and (done := forked_cli.run(argv, self.env, timeout)):
            return done
        return subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=timeout, env=self.env
        )

    def json(self, *argv: str) -> Any:
        """The document that `vnicctl ARGV --json` prints."""
        return json.loads(self.cli(*argv, "--json").stdout)

    def doctor(self) -> list[dict[str, Any]]:
        """What doctor has found, whatever it exits with."""
        checks: list[dict[str, Any]] = json.loads(self.cli("doctor", "--json", check=False).stdout)["checks"]
        return checks

    def call(self, method: str, **params: Any) -> Any:
        """The result of a request on the control socket: what `vnicctl` shows, without starting a process."""
        return Client(self.runtime / "control.sock").call(method, params)

    def popen(self, argv: Argv, **options: Any) -> subprocess.Popen[bytes]:
        process = self.on_close(subprocess.Popen(argv, env=self.env, bufsize=0, **options))
        self._stack.callback(process.kill)
        return process

    def popen_cli(self, *argv: str, **options: Any) -> subprocess.Popen[bytes]:
        return self.popen(self._vnicctl(argv), **options)

    def _vnicctl(self, argv: tuple[str, ...]) -> Argv:
        """The command line. Who starts a host, as `down` may too, must be where it belongs; others may be anywhere."""
        starts = self.netns and argv[:1] in (("up",), ("down",), ("network",))
        return [*(["nsenter", f"--net={self.netns}", "--"] if starts else []), str(VNICCTL), *argv]

    def up(self, *options: str) -> Fabric:
        self.cli("up", *options)
        return self

    def down(self) -> None:
        self.cli("down")

    def add(self, label: str, *addresses: str, **options: object) -> Partition:
        """A new partition; options such as mtu=9000 become --mtu 9000, and a tuple gives the option again for each."""
        given = {"address": addresses, **options}
        argv = [
            text
            for key, value in given.items()
            for each in (value if isinstance(value, tuple) else (value,))
            for text in (f"--{key}", str(each))
        ]
        self.cli("partition", "add", self.name(label), *argv)
        return self.partition(label)

    def partition(self, label: str) -> Partition:
        info = self.call("partition.show", name=self.name(label))
        return Partition(
            self, info["name"], info["netns"], info["mac"], tuple(info["addresses"]), info["ifname"]
        )

    def namespace(self, label: str) -> str:
        """The name of a namespace made from outside, as a container's would be; deleted with the fabric."""
        name = self.name(label)
        subprocess.run(["ip", "netns", "add", name], check=True)
        self._stack.callback(
            subprocess.run, ["ip", "netns", "del", name], check=False, stderr=subprocess.DEVNULL
        )
        return name

    def link(self, one: Partition, other: Partition) -> dict[str, Any]:
        """The entry of a pair in `links`."""
        pair = {one.name, other.name}
        return next(link for link in self.call("links")["links"] if set(link["ports"]) == pair)

    def path(self, one: Partition, other: Partition) -> str:
        return str(self.link(one, other)["path"])

    def wait_path(self, one: Partition, other: Partition, path: str, timeout: float = 5) -> None:
        wait_until(lambda: self.path(one, other) == path, timeout, f"{one.name} - {other.name} is {path}")

    def pids(self) -> set[int]:
        """All daemons of this fabric that live, whether the host knows them or not."""
        return {pid for pid, place in daemons().items() if place == self.runtime}

    def helpers(self) -> set[int]:
        """Its names helpers: one, if it has partitions."""
        return {pid for pid, place in daemons(helpers=True).items() if place == self.runtime}

    def kill_all(self) -> None:
        """SIGKILL for every daemon, also for those that a hosting daemon starts anew meanwhile."""

        def none_is_left() -> bool:
            pids = self.pids()
            for pid in pids | self.helpers():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return not pids

        wait_until(none_is_left, 10, "all daemons are gone")

    def memory(self) -> int:
        """How many memory files this fabric's daemons hold: a direct link has two."""
        return len(memfds(self.pids()))

    def is_whole(self) -> bool:
        """Whether just the daemons that are due live, with the memory of their links and no other."""
        ports = self.call("partition.list")["partitions"]
        links = [link for link in self.call("links")["links"] if link["state"] != "none"]
        due = {self.host_pid(), *(port["pid"] for port in ports)}
        return self.pids() == due and self.memory() == memory_due(len(ports), len(links))

    def host_pid(self) -> int:
        return int(self.call("fabric.ping")["pid"])

    def left_behind(self) -> list[str]:
        """What of this fabric is on the machine; empty after `down`."""
        left = [f"process {pid}" for pid in self.pids() | self.helpers()]
        left += [f"file {path}" for path in ETC.glob(f"*-{self.tag}")]
        left += [f"namespace {name}" for name in named() if name.endswith(f"-{self.tag}")]
        places = (self.runtime, trace_files.folder(self.runtime))
        files = {path for place in places for path in (place, *paths_below(place)) if path.exists()}
        return [*left, *(f"file {path}" for path in sorted(files))]

    def logs(self) -> str:
        """The last lines of every daemon's log."""
        files = sorted((self.runtime / "log").glob("*.log"))
        return "".join(f"\n--- {file.name}\n" + "\n".join(_tail(file)) for file in files)

    def close(self) -> None:
        """Ends what the test started, takes the fabric down, and says what `down` forgot."""
        self._stack.close()
        problems = []
        if self.runtime.exists():
            files = [str(path.relative_to(self.runtime)) for path in paths_below(self.runtime)]
            done = self.cli("down", check=False)
            problems = (
                [f"{done.stderr.strip()}; in the runtime directory: {files}"] if done.returncode else []
            )
        problems += self.left_behind()
        self._clean()
        assert not problems, f"left behind by the fabric: {problems}"

    def _clean(self) -> None:
        """The rough way, for what `down` did not do."""
        self.kill_all()
        for name in named():
            if name.endswith(f"-{self.tag}"):
                subprocess.run(["ip", "netns", "del", name], check=False)
                (NETNS / name).unlink(missing_ok=True)
        for place in ETC.glob(f"*-{self.tag}"):
            rmtree(place, ignore_errors=True)
        rmtree(trace_files.folder(self.runtime), ignore_errors=True)
        rmtree(self.runtime, ignore_errors=True)


def _tail(file: Path, lines: int = 30) -> list[str]:
    return file.read_text(errors="replace").splitlines()[-lines:]
