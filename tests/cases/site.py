"""Where the cases run: three namespaces that belong to one process each, and a broker that serves them all."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

from tests.cases.build import Builder
from tests.framework.fabric.namespaces import namespace_of
from tests.framework.waiting import wait_for_output, wait_until

ROOT = Path(__file__).parents[2]

CLIENT, SERVER = "10.66.7.1", "10.66.7.2"
"""The addresses of the two ends, joined by a pair of interfaces."""


class Namespace:
    """A network namespace without a name, which ends with us."""

    def __init__(self, stack: ExitStack) -> None:
        argv = ["unshare", "--net", "cat"]
        self._holder = stack.enter_context(subprocess.Popen(argv, stdin=subprocess.PIPE))
        stack.callback(self._holder.kill)
        ours = Path("/proc/self/ns/net").stat().st_ino
        wait_until(lambda: namespace_of(self._holder.pid) not in (0, ours), 10, "a namespace is made")
        self.run("ip", "link", "set", "lo", "up")

    @property
    def pid(self) -> int:
        return self._holder.pid

    @property
    def path(self) -> str:
        return f"/proc/{self.pid}/ns/net"

    def inside(self, *argv: str) -> list[str]:
        """The command line that runs a program in here."""
        return ["nsenter", f"--net={self.path}", "--", *argv]

    def run(self, *argv: str) -> None:
        subprocess.run(self.inside(*argv), check=True)


class Site:
    """One program runs in `loop`, two in `client` and `server`; the programs are compiled with `flags` as well."""

    def __init__(
        self, library: Path, programs: Path, flags: Sequence[str] = (), tree: Path | None = None
    ) -> None:
        self.library = library
        self.tree = tree or library.parents[1]
        self.builder = Builder(programs, flags)
        self._stack = ExitStack()
        try:
            self._make()
        except BaseException:
            self._stack.close()
            raise

    def _make(self) -> None:
        self.folder = Path(self._stack.enter_context(TemporaryDirectory(prefix="vnicd-cases-")))
        self.loop, self.client, self.server = (Namespace(self._stack) for _ in range(3))
        self.client.run(*f"ip link add e0 type veth peer name e0 netns {self.server.pid}".split())
        for end, ip in ((self.client, CLIENT), (self.server, SERVER)):
            end.run("ip", "address", "add", f"{ip}/24", "dev", "e0")
            end.run("ip", "link", "set", "e0", "up")
        self.broker = f"vnicd-cases-{self.loop.pid}"
        self._start_broker()

    def _start_broker(self) -> None:
        """From the library's tree, as the two have to be of one version."""
        argv = [sys.executable, "-m", "tests.framework.sockets.broker", self.broker]
        for number, (end, ips) in enumerate(
            [(self.loop, "127.0.0.1,::1"), (self.client, CLIENT), (self.server, SERVER)], 1
        ):
            argv += ["--partition", f"{number}:{end.path}:{ips}"]
        pipe = subprocess.PIPE
        process = self._stack.enter_context(
            subprocess.Popen(argv, stdin=pipe, stdout=pipe, cwd=self.tree, bufsize=0)
        )
        self._stack.callback(process.terminate)
        assert process.stdout
        wait_for_output(process.stdout, b"ready", 10)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
