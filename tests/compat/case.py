"""A program's surroundings in one cell of the matrix: both ends, a folder, a port, and helpers to start clients."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.compat.places import PROGRAMS, VENV
from tests.compat.processes import kill_tree, name_of
from tests.framework.fabric.namespaces import in_namespace
from tests.framework.fabric.partition import Argv
from tests.framework.sockets.direct import End, Ends, connections_in, processes_in
from tests.framework.traffic.streams import is_listening
from tests.framework.waiting import wait_for_output, wait_until

READY_TIMEOUT_S = 25
HELD_TIMEOUT_S = 20
FREE_TIMEOUT_S = 15
LINGER_TIMEOUT_S = 2
LINGER_LOOKS = 12


def python(*words: str) -> Argv:
    """A command of the Python that has the packages of pip; of this one before they are installed."""
    own = VENV / "bin/python"
    return [str(own) if own.exists() else sys.executable, *words]


def script(name: str, *words: str) -> Argv:
    """A Python program of the matrix."""
    return python(str(PROGRAMS / "python" / name), *words)


@dataclass(frozen=True)
class Case:
    ends: Ends
    folder: Path
    """Empty at first, and readable by all users."""
    port: int
    """A TCP port that no other cell uses."""

    @property
    def client(self) -> End:
        return self.ends.client

    @property
    def server(self) -> End:
        return self.ends.server

    @property
    def where(self) -> tuple[str, str]:
        """The server's address and port, as words of a command."""
        return self.server.ip, str(self.port)

    @property
    def at(self) -> str:
        return f"{self.server.ip}:{self.port}"

    def url(self, path: str = "") -> str:
        return f"http://{self.at}/{path}"

    def write(self, name: str, content: str | bytes) -> Path:
        """A new file in the folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def said(self, name: str = "server", most: int = 300) -> str:
        """The end of what a program wrote to its log."""
        log = self.folder / f"{name}.log"
        return " ".join(log.read_text(errors="replace").split())[-most:] if log.exists() else ""

    def pid_in(self, name: str) -> str:
        """The number that a server wrote to a file, which it may do after it has begun to listen."""
        path = self.folder / name
        said = wait_until(lambda: path.exists() and path.read_text().strip(), 10, f"a number is in {name}")
        return str(said)

    def signal(self, number: signal.Signals, name: str) -> None:
        """A signal to the server whose number is in a file."""
        os.kill(int(self.pid_in(name).split()[0]), number)

    def start(
        self, end: End, argv: Argv, name: str = "server", cwd: Path | None = None
    ) -> subprocess.Popen[bytes]:
        """A program whose output goes to a log; ended with the cell at the latest."""
        with (self.folder / f"{name}.log").open("ab") as log:
            return end.popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=cwd or self.folder)

    @contextmanager
    def running(
        self, end: End, argv: Argv, port: int = 0, name: str = "server", cwd: Path | None = None
    ) -> Iterator[subprocess.Popen[bytes]]:
        """A server that listens on the port (the cell's, unless told another); killed with its children in the end."""
        process = self.start(end, argv, name, cwd)
        port = port or self.port

        def ready() -> bool:
            assert process.poll() is None, f"{name} ended with {process.returncode}: {self.said(name)}"
            return is_listening(process.pid, port)

        try:
            wait_until(ready, READY_TIMEOUT_S, f"{name} listens on port {port}")
            yield process
        finally:
            kill_tree(process.pid)
            process.wait()
            wait_until(
                lambda: not is_taken(end, port), FREE_TIMEOUT_S, f"nobody listens on port {port} any more"
            )

    def run(self, argv: Argv, timeout: float = 40) -> str:
        """What a client prints, which must succeed."""
        return self.client.run(argv, timeout=timeout).stdout

    def held(self, argv: Argv, text: bytes = b"held", end: End | None = None) -> subprocess.Popen[bytes]:
        """A client that has said `text`, and goes on."""
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        process = (end or self.client).popen(argv, **pipes)
        assert process.stdout
        wait_for_output(process.stdout, text, HELD_TIMEOUT_S)
        return process

    def linger(self) -> None:
        """Lets a watch see the connections of the moment, if there can be direct ones."""
        looks = 0

        def is_seen() -> bool:
            nonlocal looks
            both = (self.client.partition, self.server.partition)
            looks += all(connections_in(each) for each in both)
            return looks >= LINGER_LOOKS

        if self.ends.direct:
            with suppress(AssertionError):
                wait_until(is_seen, LINGER_TIMEOUT_S, "connections are direct")

    def hold_open(self, question: str = "", answer: int = 1) -> subprocess.Popen[bytes]:
        """A connection that asked a question (with escapes such as \\r), has an answer, and waits for its end."""
        return self.held(script("hold.py", *self.where, question, str(answer)))

    def env(self, **variables: object) -> Argv:
        """The beginning of a command that sets variables; the home is the cell's folder."""
        given = {"HOME": self.folder, "LC_ALL": "C.UTF-8", **variables}
        return ["env", *(f"{name}={value}" for name, value in given.items())]


def is_taken(end: End, port: int) -> bool:
    """Whether somebody listens on a TCP port in the end's partition."""

    def tables() -> str:
        return "".join(Path(f"/proc/thread-self/net/{name}").read_text() for name in ("tcp", "tcp6"))

    fields = [line.split() for line in in_namespace(end.partition.netns, tables).splitlines()]
    return any(each[3] == "0A" and each[1].endswith(f":{port:04X}") for each in fields)


def wait_until_free(end: End, port: int) -> None:
    """Waits until a killed server's port can be used again; says who is left if it can't."""
    try:
        wait_until(lambda: not is_taken(end, port), FREE_TIMEOUT_S, "the port is free")
    except AssertionError as error:
        names = sorted({name_of(pid) for pid in processes_in(end.partition.netns)})
        raise AssertionError(
            f"port {port} is still taken after its server was killed, by one of {names}"
        ) from error


def user(name: str) -> Argv:
    """The beginning of a command that another user runs."""
    return ["setpriv", f"--reuid={name}", f"--regid={name}", "--clear-groups"]


def open_to(path: Path, name: str) -> Path:
    """The folder, made and given to a user."""
    path.mkdir(parents=True, exist_ok=True)
    for each in (path, *path.rglob("*")):
        subprocess.run(["chown", "-h", f"{name}:", str(each)], check=True)
    return path


def pattern(number: int, size: int) -> bytes:
    """Bytes that differ from those of every other number."""
    seed = f"{number}:{size};".encode()
    return (seed * (size // len(seed) + 1))[:size]


def search_path() -> str:
    """PATH with the folders of servers."""
    return f"{os.environ['PATH']}:/usr/sbin:/sbin"
