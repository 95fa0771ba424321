"""Direct sockets: without descriptors, memory or a broker, and with many connections at once or one after the other."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread

import pytest

from tests.framework.options import LONG
from tests.framework.sockets import broker, preload
from tests.framework.sockets.direct import LIBRARY
from tests.framework.sockets.hostile import Asking, echo_server, holdings, program, resident
from tests.framework.waiting import wait_until
from vnicd.sockets import abi
from vnicd.sockets.abi import Reason

MOST = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
OPEN = min(10_000, MOST * 3 // 8 - 100) if LONG else 1_000
"""Each takes two descriptors: the TCP socket and the doorbell."""

SHORT = int(os.environ.get("VNICD_SHORT", "0")) or (1_000_000 if LONG else 20_000)
NAME = f"vnicd-test-limits-{os.getpid()}"

pytestmark = [
    pytest.mark.skipif(not LIBRARY.exists(), reason=f"no {LIBRARY}: run scripts/setup"),
    pytest.mark.timeout(1800 if LONG else 120),
]


@contextmanager
def brokered() -> Iterator[subprocess.Popen[bytes]]:
    process = broker.start(NAME)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@contextmanager
def ends(server: str = "", client: str = "") -> Iterator[tuple[int, int, Asking]]:
    """A server's process, its port, and a client; each with the limit of descriptors that is given."""
    limits = [["prlimit", f"--nofile={limit}:{limit}"] if limit else [] for limit in (server, client)]
    with (
        echo_server("wait", *limits[0], VNICD_BROKER=NAME) as (process, port),
        program("ask", *limits[1], VNICD_BROKER=NAME) as asking,
    ):
        yield process.pid, port, Asking(asking)


@pytest.fixture
def serving() -> Iterator[subprocess.Popen[bytes]]:
    with brokered() as process:
        yield process


@pytest.mark.usefixtures("serving")
def test_client_without_descriptors() -> None:
    with ends(client="60") as (_, port, ask):
        assert ask(f"kind {port}") == "direct"
        before = holdings(ask.pid)
        for _ in range(3):
            many, why = ask(f"fill {port} 100").split()
            assert why == "EMFILE"
            assert 9 <= holdings(ask.pid)[1] // 2 <= int(many), (
                "some are direct, and the last ones need not be"
            )
            assert ask("each") == "done"
            assert ask("drop") == "done"
            wait_until(
                lambda: holdings(ask.pid) <= (before[0] + 2, before[1]), 5, "all is closed"
            )  # its thread slept
        assert ask(f"kind {port}") == "direct"


@pytest.mark.usefixtures("serving")
def test_server_without_descriptors() -> None:
    """What it can't take waits, as with TCP, or is refused, and afterwards all is as before."""
    with ends(server="60") as (pid, port, ask):
        ask(f"attempt {port} 0")  # what the library keeps from the first close on is there
        assert (ask(f"open {port}"), ask("echo")) == ("open", "True")
        before = holdings(pid)
        for _ in range(20):
            ask(f"attempt {port} 0")
        assert ask(f"fill {port} 18").split()[1] == "all"
        assert ask("echo") == "True"
        for _ in range(3):
            assert ask(f"wait {port} 100") == "100", "who waited is served when others have gone"
        assert ask("drop") == "done"
        wait_until(lambda: holdings(pid) <= before, 5, "all is closed")
        wait_until(lambda: ask(f"kind {port}") == "direct", 10, "it is direct again")


@pytest.mark.parametrize("server", ["", "80"])
@pytest.mark.usefixtures("serving")
def test_client_out_of_descriptors_before_it_is_answered(server: str) -> None:
    """Connections that were made are served, whatever they become."""
    with ends(server, client="60") as (_, port, ask):
        assert ask(f"kind {port}") == "direct"
        for most in (*range(12, 20), 100):
            many, served = ask(f"burst {port} {most}").split()
            assert int(many) >= min(most, 17)
            assert served == many
            assert ask("drop") == "done"
        assert wait_until(lambda: ask(f"kind {port}") == "direct", 5, "it is direct again")


@pytest.mark.usefixtures("serving")
def test_client_without_memory() -> None:
    with ends() as (_, port, ask):
        assert ask(f"kind {port}") == "direct"
        assert ask("thin 16") == "done"
        many, why = ask(f"fill {port} 100").split()
        assert (many, why) == ("100", "all")
        assert 5 < holdings(ask.pid)[1] // 2 < 60
        assert ask("each") == "done"
        assert ask("drop") == "done"
        assert ask(f"kind {port}") == "direct"


@pytest.mark.usefixtures("serving")
def test_server_without_memory() -> None:
    with ends() as (pid, port, ask):
        assert ask(f"kind {port}") == "direct"
        now = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.prlimit(pid, resource.RLIMIT_AS, (now + (16 << 20), resource.RLIM_INFINITY))
        assert ask(f"burst {port} 100") == "100 100"
        assert 5 < holdings(pid)[1] // 2 < 60, "some are direct"
        assert ask("each") == "done"
        assert ask("drop") == "done"
        wait_until(lambda: not holdings(pid)[1], 5, "all is closed")
        assert ask(f"kind {port}") == "direct"


@pytest.mark.usefixtures("serving")
def test_many_at_once() -> None:
    """Memory grows with the bytes in flight: a connection that is idle has a page or two at each end."""
    with ends(server=str(MOST), client=str(MOST)) as (pid, port, ask):
        ask(f"kind {port}")
        before = [resident(each, "Pss") for each in (pid, ask.pid)]
        assert ask(f"fill {port} {OPEN}") == f"{OPEN} all"
        assert holdings(ask.pid)[1] == 2 * OPEN
        for _ in range(3):
            assert ask("each") == "done"
        grown = sum(resident(each, "Pss") for each in (pid, ask.pid)) - sum(before)
        print(f"{grown / OPEN:.1f} kB a connection")
        assert grown / OPEN < 40
        assert ask("drop") == "done"
        wait_until(lambda: holdings(pid)[1] == 0, 20, "all is closed")


@pytest.mark.usefixtures("serving")
def test_many_one_after_the_other() -> None:
    with ends() as (pid, port, ask):
        ask(f"short {port} 500")
        pids = pid, ask.pid
        before = [(*holdings(each), maps(each)) for each in pids]
        memory = [resident(each, "Rss") for each in pids]
        assert ask(f"short {port} {SHORT}") == "done"
        grown = [resident(each, "Rss") - then for each, then in zip(pids, memory, strict=True)]
        print(f"{grown} kB more, maps {[maps(each) for each in pids]}")
        for each, then in zip(pids, before, strict=True):
            wait_until(lambda: (*holdings(each), maps(each)) <= (then[0], then[1], then[2] + 3), 5, "no more")  # noqa: B023
        assert max(grown) < 1000


def maps(pid: int) -> int:
    return len(Path(f"/proc/{pid}/maps").read_text().splitlines())


def test_broker_that_dies_and_comes_back() -> None:
    with brokered() as process, ends() as (pid, port, ask):
        assert (ask(f"open {port}"), ask("echo")) == ("open", "True")
        assert ask(f"kind {port}") == "direct"
        before = [(holdings(each)[1], maps(each)) for each in (pid, ask.pid)]
        for _ in range(5):
            process.kill()
            process.communicate()
            assert ask("echo") == "True"
            assert wait_until(lambda: ask(f"kind {port}") == "plain", 5, "it is plain without a broker")
            with brokered() as again:
                assert again.poll() is None
                assert ask("echo") == "True"
                wait_until(lambda: ask(f"kind {port}") == "direct", 5, "it is direct again")
        assert ask("echo") == "True"
        after = [(holdings(each)[1], maps(each)) for each in (pid, ask.pid)]
        assert all(
            now[0] <= then[0] and now[1] <= then[1] + 3 for now, then in zip(after, before, strict=True)
        )


def nonsense(listener: socket.socket, answers: list[tuple[bytes, list[int]]]) -> None:
    """A broker that says these things to whoever asks, and hangs up."""
    with suppress(OSError):
        while True:
            with listener.accept()[0] as sock, suppress(OSError):
                sock.settimeout(0.2)
                for data, fds in answers:
                    if not sock.recv(1000):
                        break
                    socket.send_fds(sock, [data], fds)


def test_broker_that_lies() -> None:
    """Whatever it says, the connection is made, if only by TCP, and nothing is kept of it."""
    fds = [
        os.open("/", os.O_RDONLY),
        os.memfd_create("table"),
        preload.make_stream_region(1 << 40),
        preload.make_stream_region(),
    ]
    good, bad = abi.Reply(Reason.DIRECT, 1).pack(), abi.Reply(Reason.NO_OFFER, 1 << 31).pack()
    answers: list[list[tuple[bytes, list[int]]]] = [[], [(b"x", fds)], [(bad, []), (b"", [])]]
    answers += [[(good, [fd]), (good, fds)] for fd in fds]
    answers += [[(good, fds * 20), (good, fds * 20), (good, fds)], [(os.urandom(2000), fds[:2])]]
    name = f"{NAME}-liar"
    with (
        echo_server("wait", VNICD_BROKER=name) as (server, port),
        program("ask", VNICD_BROKER=name) as asking,
    ):
        ask = Asking(asking)
        assert ask(f"kind {port}") == "plain"
        before = [holdings(server.pid), holdings(ask.pid)]
        for said in answers:
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
                listener.bind(f"\0{name}")
                listener.listen()
                thread = Thread(target=nonsense, args=[listener, said])
                thread.start()
                assert [ask(f"attempt {port} 0") for _ in range(2)] == ["hello"] * 2
                listener.shutdown(socket.SHUT_RDWR)
                thread.join(5)
        assert ask(f"kind {port}") == "plain"
        after = [holdings(server.pid), holdings(ask.pid)]
        assert all(now[0] <= then[0] + 1 for now, then in zip(after, before, strict=True)), (before, after)
    for fd in fds:
        os.close(fd)


@pytest.mark.usefixtures("serving")
def test_broker_that_hangs(serving: subprocess.Popen[bytes]) -> None:
    with ends() as (_, port, ask):
        assert ask(f"kind {port}") == "direct"
        serving.send_signal(signal.SIGSTOP)
        assert [ask(f"attempt {port} 0") for _ in range(20)] == ["hello"] * 20
        wait_until(lambda: ask(f"kind {port}") == "plain", 5, "it is plain while the broker hangs")
        serving.send_signal(signal.SIGCONT)
        wait_until(lambda: ask(f"kind {port}") == "direct", 5, "it is direct again")
