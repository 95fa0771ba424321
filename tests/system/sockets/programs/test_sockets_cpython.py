"""CPython's own tests of sockets with the library, over loopback that is not direct and that is: as without it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.framework.options import LONG
from tests.framework.sockets import broker
from tests.framework.sockets.direct import LIBRARY, preloading

PATIENCE = 280 if LONG else 80
"""Seconds for a suite."""

pytestmark = [pytest.mark.tools, pytest.mark.timeout(700 if LONG else 200)]

HANGING = "*VSOCK*"
"""They wait for ever on a machine without a hypervisor's sockets, with the preload library or without."""

SOCKET = ("TCP", "ContextManagers", ".FileObjectClass", "NetworkConnection", "Sendfile", "NonBlocking", "Interrupted",
          "InheritanceTest", "SendRecvFds", "CreateServer")  # fmt: skip
ASYNCIO = ("streams", "sendfile", "sock_lowlevel", "buffered_proto", "server")

SHORT: Mapping[str, tuple[Sequence[str], Sequence[str]]] = {
    "socket": (
        ["test_socket"],
        [f"*{part}*" for part in SOCKET],
    ),
    "asyncio": ([f"test.test_asyncio.test_{part}" for part in ASYNCIO], []),
    "ssl": (["test_ssl"], ["*SimpleBackground*", "*PreHandshake*", "*test_recv_send", "*test_sendfile"]),
    "waiting": (["test_select", "test_poll", "test_epoll", "test_socketserver", "test_httplib"], []),
}
"""By name the modules of CPython's tests, and what to take of them (nothing: everything)."""

WHOLE: Mapping[str, tuple[Sequence[str], Sequence[str]]] = {
    "socket": (["test_socket"], []),
    "asyncio": (["test_asyncio"], []),
    "ssl": (["test_ssl"], []),
    "waiting": ([*SHORT["waiting"][0], "test_selectors"], []),
    "processes": (["test_os", "test_subprocess"], []),
}

SUITES = WHOLE if LONG else SHORT

AT_ONCE = 2
"""Suites that run side by side, each in three worlds at once."""

Found = tuple[Mapping[str, str], Mapping[str, list[str]]]
"""Of a suite: how each test ends without the preload library, and how in all worlds where they differ."""


@cache
def python() -> str:
    """A Python with CPython's tests, or an empty text: distributions often leave them out."""
    others = sorted(Path("/root/.pyenv/versions").glob("*/bin/python3"))
    for path in [sys.executable, shutil.which("python3"), "/usr/bin/python3", *map(str, others)]:
        argv = [path or "python3", "-c", "import test.test_socket, test.test_asyncio, test.test_ssl"]
        if subprocess.run(argv, capture_output=True, check=False).returncode == 0:
            return path or "python3"
    return ""


@dataclass(frozen=True)
class World:
    """A namespace of its own in which suites run."""

    netns: str
    direct: bool
    variables: Mapping[str, object]

    def start(self, words: Sequence[str], report: Path) -> subprocess.Popen[bytes]:
        report.unlink(missing_ok=True)
        program = [python(), "-m", "test", "-u", "network", f"--junit-xml={report}", *words]
        argv = ["ip", "netns", "exec", self.netns, *preloading(program, self.direct, **self.variables)]
        with report.with_suffix(".log").open("wb") as log:
            return subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=report.parent,
                start_new_session=True,
            )


@contextmanager
def namespace(name: str) -> Iterator[str]:
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        yield name
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


@contextmanager
def worlds(suite: str) -> Iterator[Mapping[str, World]]:
    """Without the preload library; with it; and with it and loopback that is direct."""
    name = f"vnicd-test-cpython-{os.getpid()}-{suite}"
    with ExitStack() as stack:
        plain, loaded, direct = (
            stack.enter_context(namespace(f"vnpy{os.getpid()}-{suite}-{part}")) for part in ("p", "l", "d")
        )
        places = [
            f"{number}:/run/netns/{netns}:127.0.0.1,::1" for number, netns in ((1, loaded), (2, direct))
        ]
        process = broker.start(name, places)
        stack.callback(process.wait, 10)
        stack.callback(process.terminate)
        yield {
            "plain": World(plain, False, {}),
            "loaded": World(loaded, True, {"VNICD_BROKER": name}),
            "direct": World(
                direct, True, {"VNICD_BROKER": name, "VNICD_LOOPBACK": 1, "VNICD_SHORT_LIVED": 1}
            ),
        }


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Future[Found]]]:
    """What becomes of each suite: two run side by side, in worlds of their own; most of their time they wait."""
    if not LIBRARY.exists():
        pytest.skip(f"no {LIBRARY}: run scripts/setup")
    if not python():
        pytest.skip(
            "CPython's `test` package is not installed (libpython3-testsuite, or a Python from pyenv)"
        )
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {suite: pool.submit(judge, suite, tmp_path_factory.mktemp(suite)) for suite in SUITES}


def outcomes(report: Path) -> dict[str, str]:
    """What became of each test: passed, or skipped, failure, error."""
    log = report.with_suffix(".log").read_text(errors="replace")
    assert report.exists(), f"the run did not come to its end: {log[-3000:]}"
    cases = ElementTree.parse(report).getroot().iter("testcase")
    ends = ("failure", "error", "skipped")
    return {
        case.get("name", "?"): next((end for end in ends if case.find(end) is not None), "passed")
        for case in cases
    }


def run(worlds: Mapping[str, World], words: Sequence[str], directory: Path) -> dict[str, dict[str, str]]:
    """The outcomes in each of the worlds, which run side by side: most of their time they wait."""
    reports = {name: directory / f"{name}.xml" for name in worlds}
    processes = [world.start(words, reports[name]) for name, world in worlds.items()]
    try:
        for process in processes:
            process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        pass  # told by what is missing of its report
    finally:
        for process in processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return {name: outcomes(report) for name, report in reports.items()}


def differing(found: Mapping[str, Mapping[str, str]]) -> dict[str, list[str]]:
    """The tests that do not end the same way everywhere."""
    names = {test for results in found.values() for test in results}
    ends = {test: [results.get(test, "missing") for results in found.values()] for test in sorted(names)}
    return {test: list(each) for test, each in ends.items() if len(set(each)) > 1}


def judge(suite: str, directory: Path) -> Found:
    """How the tests of a suite end in each of its worlds: those without the preload library, and those that differ."""
    modules, patterns = SUITES[suite]
    chosen = [word for pattern in patterns for word in ("-m", pattern)] or ["-i", HANGING]
    with worlds(suite) as places:
        found = run(places, [*chosen, *modules], directory)
        differences = differing(found)
        if differences:  # on a busy machine a test may be late by chance: it counts when it is so again
            again = [word for test in differences for word in ("-m", test)]
            differences = differing(run(places, [*again, *modules], directory))
    return found["plain"], differences


@pytest.mark.parametrize("suite", SUITES)
def test_suite(suite: str, found: Mapping[str, Future[Found]]) -> None:
    plain, differences = found[suite].result()
    assert list(plain.values()).count("passed") > 10, "hardly a test was run"
    assert not differences, f"plain, loaded, direct: {differences}"
