"""Runs suites in two namespaces, without the library and with it while loopback is carried direct, and compares."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.compat.processes import kill
from tests.compat.suites import outcomes
from tests.compat.suites.outcomes import Outcomes
from tests.compat.suites.suite import Suite
from tests.framework.sockets import broker, loopback
from tests.framework.sockets.direct import preloading, processes_in
from tests.framework.waiting import wait_until

REPORT_TIMEOUT_S = 20
"""How long a suite that was interrupted may take to write its report."""

FEW = 10
"""A suite of which fewer pass did not run as it should."""

PRINTED = 40
MANY = 60
"""So many differences are no chance, and are not looked at again."""

AGAIN = 2
"""How often a difference is looked at again: on a busy machine a test may be late by chance."""


@dataclass
class Found:
    """What a suite came to; `differing` has the tests that pass without the library alone, and their end with it."""

    name: str
    version: str = ""
    skipped: str = ""
    passed: int = 0
    passed_direct: int = 0
    differing: dict[str, str] = field(default_factory=dict)
    seconds: int = 0


@dataclass(frozen=True)
class Place:
    """A namespace of its own in which a suite runs."""

    netns: str
    direct: bool
    variables: Mapping[str, object]

    def inside(self, argv: Sequence[str]) -> list[str]:
        return ["ip", "netns", "exec", self.netns, *preloading(argv, self.direct, **self.variables)]

    def start(self, argv: Sequence[str], log: Path, cwd: Path) -> subprocess.Popen[bytes]:
        command = self.inside(argv)
        with log.open("ab") as file:
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, cwd=cwd, start_new_session=True
            )

    def clear(self) -> None:
        """Ends all that runs in the namespace."""

        def is_empty() -> bool:
            left = processes_in(f"/run/netns/{self.netns}")
            for pid in left:
                kill(pid)
            return not left

        wait_until(is_empty, 20, f"nothing runs in {self.netns}")


@contextmanager
def namespace(name: str) -> Iterator[str]:
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        yield name
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


@contextmanager
def places() -> Iterator[dict[str, Place]]:
    """One without the library; one with it, a broker, and loopback that is carried direct."""
    name = f"vnicd-compat-{os.getpid()}"
    with ExitStack() as stack:
        plain, direct = (stack.enter_context(namespace(f"vnc{os.getpid()}-{part}")) for part in "pd")
        process = broker.start(name, [f"1:/run/netns/{direct}:127.0.0.1,::1"])
        stack.callback(process.wait, 10)
        stack.callback(process.terminate)
        variables = {"VNICD_BROKER": name, "VNICD_LOOPBACK": 1, "VNICD_SHORT_LIVED": 1}
        made = {"plain": Place(plain, False, {}), "direct": Place(direct, True, variables)}
        for each in made.values():
            stack.callback(each.clear)
        argv = made["direct"].inside([sys.executable, "-c", loopback.PRELUDE])
        probe = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
        assert probe.returncode == 0, f"loopback is not carried direct: {probe.stderr[-300:]}"
        yield made


Command = Callable[[Path], list[str]]


def run(suite: Suite, where: dict[str, Place], command: Command, folder: Path) -> dict[str, Outcomes]:
    """The outcomes in both places, which run side by side: most of their time they wait."""
    running = {}
    for name, place in where.items():
        own = folder / name
        own.mkdir(parents=True, exist_ok=True)
        (own / "report").unlink(missing_ok=True)
        running[name] = place.start(command(own / "report"), own / "log", suite.copy_to(own))
    deadline = time.monotonic() + suite.limit
    try:
        for process in running.values():
            process.wait(max(1, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        for process in running.values():  # what was done so far is reported
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            for process in running.values():
                process.wait(REPORT_TIMEOUT_S)
    finally:
        for name, process in running.items():
            kill(process.pid)
            process.wait()
            where[name].clear()
    return {name: outcomes.read(folder / name / "report") for name in where}


def judge(suite: Suite, where: dict[str, Place], folder: Path) -> Found:
    """The suite's result; what differs is run again, and counts when it differs each time."""
    if reason := suite.prepare():
        return Found(suite.name, skipped=reason)
    begin = time.monotonic()
    first = run(suite, where, suite.argv, folder)
    passed = outcomes.count(first["plain"])
    if passed < FEW:
        said = " ".join((folder / "plain/log").read_text(errors="replace").split())[-200:]
        return Found(suite.name, suite.version(), f"only {passed} tests pass without the library: {said}")
    differing = outcomes.differing(first["plain"], first["direct"])
    for _ in range(AGAIN):
        if not differing or len(differing) > MANY:
            break
        names = list(differing)
        again = run(suite, where, lambda report, names=names: suite.again(report, names), folder)  # type: ignore[misc]
        later = outcomes.differing(again["plain"], again["direct"])
        differing = {name: outcome for name, outcome in later.items() if name in differing}
    seconds = round(time.monotonic() - begin)
    return Found(suite.name, suite.version(), "", passed, passed - len(differing), differing, seconds)


def run_all(suites: Sequence[Suite], base: Path, file: Path) -> dict[str, Found]:
    """Prints a line for each suite, and keeps all for the document."""
    found = load(file)
    with places() as where:
        for suite in suites:
            print(f"{suite.name:12}", end="", flush=True)
            made = judge(suite, where, base / suite.name)
            found[suite.name] = made
            print(line(made), flush=True)
            for test, outcome in sorted(made.differing.items())[:PRINTED]:
                print(f"    {outcome}: {test}", flush=True)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps([asdict(each) for each in found.values()], indent=1))
    return found


def line(found: Found) -> str:
    if found.skipped:
        return f"skipped: {found.skipped}"
    return f"{found.version:12}{found.passed_direct} of {found.passed} pass with the library too, {found.seconds} s"


def load(file: Path) -> dict[str, Found]:
    """What earlier runs with the library of this file found."""
    try:
        documents: list[dict[str, Any]] = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return {each["name"]: Found(**each) for each in documents}
