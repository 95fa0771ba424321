"""Runs a case in one way, and tells what it printed."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from tempfile import TemporaryFile
from threading import Event, Thread
from typing import IO

from tests.cases.build import READER, BuildError
from tests.cases.case import Case
from tests.cases.site import CLIENT, ROOT, SERVER, Namespace, Site
from tests.framework.sockets.direct import REGION

LIMIT = 15.0
"""Seconds that a case may take."""

READY = "READY\n"
"""What a server prints when it listens."""

_ports = count(7000, 10)
"""Each run of two programs has ten ports of its own."""


@dataclass(frozen=True)
class Outcome:
    """What a case printed, of both programs if there were two, and what it told on standard error."""

    case: Case
    way: str
    printed: str
    errors: str

    @property
    def is_right(self) -> bool:
        return self.case.accepts(self.printed, self.way)


class Program:
    """A running program and what it prints; it leads a session of its own, which is killed with it."""

    def __init__(self, argv: list[str], environment: dict[str, str]) -> None:
        self.printed = ""
        self.ready = Event()
        self._errors: IO[bytes] = TemporaryFile()  # noqa: SIM115 - lives as long as we do
        self.process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
            start_new_session=True,
        )
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            text = line.decode(errors="backslashreplace")
            if text == READY:
                self.ready.set()
            else:
                self.printed += text
        self.ready.set()

    def end(self, timeout: float) -> None:
        """Waits for its end, which is told when it is not as it should be; afterwards nothing of it is left."""
        said = ""
        try:
            code = self.process.wait(timeout)
            if code:
                said = f"exit code {code}\n" if code > 0 else f"killed by {signal.Signals(-code).name}\n"
        except subprocess.TimeoutExpired:
            said = "still running at the end of its time\n"
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._reader.join(2)
        if self.printed and not self.printed.endswith("\n"):
            self.printed += "\n"
        self.printed += said

    def errors(self) -> str:
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")


_KEPT = {
    name: value for name, value in os.environ.items() if not name.startswith(("VNICD_", "LD_", "PYTEST_"))
}
"""Looked at once: pytest changes its own variables while our threads run."""


def _environment(site: Site, case: Case, has_library: bool) -> dict[str, str]:
    """For one program of a case."""
    given = {
        "CASE_ROUNDS": case.rounds,
        "CASE_SERVER": SERVER,
        "CASE_CLIENT": CLIENT,
        "CASE_MARK": REGION,
        "CASE_FOLDER": site.folder,
        "CASE_READER": site.builder.folder / READER.stem,
        "PYTHONPATH": ROOT,
        "PYTHONDONTWRITEBYTECODE": 1,
    }
    if has_library:
        given |= {"LD_PRELOAD": site.library, "VNICD_BROKER": site.broker}
    return _KEPT | {name: str(value) for name, value in given.items()}


def _start(site: Site, case: Case, where: Namespace, has_library: bool, variables: dict[str, str]) -> Program:
    environment = _environment(site, case, has_library) | variables
    preload = environment.pop(
        "LD_PRELOAD", None
    )  # for the program alone, and not for what enters the namespace
    words = ["env", *([f"LD_PRELOAD={preload}"] if preload else []), *site.builder.command(case)]
    return Program(where.inside(*words), environment)


def _wanted(case: Case, is_direct: bool) -> dict[str, str]:
    """Tells the programs whether their connections have to be direct, where that is to be checked."""
    return {"CASE_DIRECT": str(int(is_direct))} if case.becomes_direct or not is_direct else {}


def _one(site: Site, case: Case, way: str, limit: float) -> tuple[str, str]:
    variables = {"VNICD_LOOPBACK": "1", "VNICD_SHORT_LIVED": "1"}
    if way in ("client", "server"):
        variables["CASE_ONLY"] = way
    program = _start(site, case, site.loop, way != "plain", variables | _wanted(case, way == "direct"))
    program.end(limit)
    return program.printed, program.errors()


def _two(site: Site, case: Case, way: str, limit: float) -> tuple[str, str]:
    variables = {"CASE_PORT": str(next(_ports)), "VNICD_SHORT_LIVED": "1", **_wanted(case, way == "both")}
    has_library = {"server": way in ("both", "server"), "client": way in ("both", "client")}
    server = _start(site, case, site.server, has_library["server"], variables | {"CASE_ROLE": "server"})
    server.ready.wait(limit)
    client = _start(site, case, site.client, has_library["client"], variables | {"CASE_ROLE": "client"})
    client.end(limit)
    assert server.process.stdin
    with suppress(BrokenPipeError):
        server.process.stdin.close()  # by which it knows that the client has ended
    server.end(2)
    printed = "".join(
        f"{who}: {line}\n"
        for who, program in (("client", client), ("server", server))
        for line in program.printed.splitlines()
    )
    return printed, client.errors() + server.errors()


def run(site: Site, case: Case, way: str, limit: float = LIMIT) -> Outcome:
    """The case in this way, after at most its time limit."""
    try:
        printed, errors = (_one if "direct" in case.ways else _two)(site, case, way, limit)
    except BuildError as error:
        printed, errors = "the program cannot be built\n", str(error)
    return Outcome(case, way, printed, errors)


def library_of(tree: Path) -> Path:
    return tree / "vnicd/libvnicd-sockets.so"
