"""Programs of compiled languages: Rust with threads and with tokio, Go, Erlang."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.compat.build import compiled
from tests.compat.case import Case
from tests.compat.places import PROGRAMS
from tests.compat.program import Holder, Needs, Program
from tests.framework.fabric.partition import Argv

SOURCES = PROGRAMS / "compiled"
ESCRIPT = str(PROGRAMS / "other/echo.escript")
CRATES = "/usr/share/cargo/registry"
"""Where Debian's packages put the sources of crates."""


def threads() -> str:
    source = SOURCES / "threads.rs"
    return str(compiled("threads", source, ["rustc", "-O", "-o", "@OUT@/threads", str(source)]) / "threads")


def tokio() -> str:
    source = SOURCES / "tokio"
    replaced = "source.crates-io.replace-with='debian'"
    directory = f"source.debian.directory='{CRATES}'"
    argv = ["cargo", "build", "--release", "--offline", "--config", replaced, "--config", directory]
    lock = f'cp -r {source}/. @OUT@/src && cd @OUT@/src && exec "$@" --target-dir @OUT@/target'
    made = compiled("tokio", source, ["sh", "-c", f"mkdir @OUT@/src && {lock}", "sh", *argv])
    return str(made / "target/release/echo")


def go() -> str:
    source = SOURCES / "echo.go"
    build = 'GOCACHE=@OUT@/cache GO111MODULE=off CGO_ENABLED=0 exec go build -o @OUT@/echo "$0"'
    return str(compiled("go", source, ["sh", "-c", build, str(source)]) / "echo")


class Own(Program):
    """A program of the matrix that is the server as well as the client."""

    def __init__(
        self,
        name: str,
        command: Callable[[], Argv],
        version: Argv,
        needs: Needs,
        direct: bool = True,
        note: str = "",
    ) -> None:
        self.name, self.command, self.direct, self.needs, self.note = name, command, direct, needs, note
        self._version = version

    def version(self) -> str:
        return self.said(*self._version)

    @contextmanager
    def serve(self, case: Case) -> Iterator[None]:
        with case.running(case.server, [*self.command(), "serve", *case.where]):
            yield

    def check(self, case: Case) -> None:
        done = case.client.run([*self.command(), "ask", *case.where], check=False, timeout=30)
        said = " ".join((done.stdout + done.stderr).split())
        assert "all right" in said, said[-300:]

    def hold(self, case: Case) -> Holder:
        return case.held([*self.command(), "hold", *case.where])


COMPILED: list[Program] = [
    Own("Rust threads", lambda: [threads()], ["rustc", "--version"], Needs(debian=(("rustc", "rustc"),))),
    Own(
        "tokio",
        lambda: [tokio()],
        ["dpkg-query", "-W", "-f", "${Version}", "librust-tokio-dev"],
        Needs(debian=(("librust-tokio-dev", f"{CRATES}/tokio-1*"), ("cargo", "cargo"), ("rustc", "rustc"))),
    ),
    Own(
        "Go net/http",
        lambda: [go()],
        ["go", "version"],
        Needs(debian=(("golang-go", "go"),)),
        direct=False,
        note="makes its system calls without the C library, so it stays TCP",
    ),
    Own(
        "Erlang gen_tcp",
        lambda: ["escript", ESCRIPT],
        ["dpkg-query", "-W", "-f", "${Version}", "erlang-base"],
        Needs(debian=(("erlang-base", "escript"),)),
    ),
]
