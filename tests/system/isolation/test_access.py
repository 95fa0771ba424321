"""Who may do what with a running fabric, and clients of every bad kind: the host serves the others all the same."""

from __future__ import annotations

import array
import grp
import json
import os
import resource
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.framework.fabric.fabric import VNICCTL, Fabric
from tests.framework.fabric.prober import Prober
from tests.framework.fabric.users import NOBODY, connect, program_as
from tests.framework.waiting import wait_until
from tests.system.conftest import MakeFabric
from vnicd.errors import BY_CODE
from vnicd.host.control import access
from vnicd.host.control.server import MAX_OF_OWNER
from vnicd.process import readers
from vnicd.protocol.control import request
from vnicd.spec.partition import PartitionSpec
from vnicd.spec.uplink import UplinkSpec

READS = ["status", "stats", "stats {blue}", "links", "partition list", "partition show {blue}", "uplink show",
         "status --json"]  # fmt: skip
CHANGES = ["partition add {new}", "partition remove {blue}", "uplink set eth9", "uplink clear", "down", "up"]

SOON = 0.3
"""Seconds that an answer may take whatever others do; it takes a few milliseconds, and 0.1 with other tests beside."""

MIB = 1 << 20


@pytest.fixture(scope="module")
def guarded(make_module_fabric: MakeFabric) -> Fabric:
    """A fabric with two partitions, whose daemon has done all that it does for the first time."""
    fabric = make_module_fabric().up()
    for number, label in enumerate(("blue", "green"), 1):
        fabric.add(label, f"10.79.0.{number}/24")
    for _ in range(50):
        for method in ("status", "links", "stats", "partition.list", "uplink.show"):
            fabric.call(method)
    return fabric


@pytest.fixture(scope="module")
def gid(guarded: Fabric) -> Iterator[int]:
    """A group whose members may read: that of vnicd, or where there is none a number that stands in for it."""
    number = readers.group_id() or 47_110
    os.chown(path(guarded), 0, number)
    yield number
    os.chown(path(guarded), 0, readers.group_id())


def path(fabric: Fabric) -> Path:
    return fabric.runtime / "control.sock"


def run_as(fabric: Fabric, uid: int, gid: int, words: str) -> subprocess.CompletedProcess[str]:
    names = {"blue": fabric.name("blue"), "new": fabric.name("new")}
    argv = program_as(uid, gid, VNICCTL)
    return subprocess.run(
        [*argv, *words.format(**names).split()], capture_output=True, text=True, env=fabric.env, cwd="/"
    )


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


@contextmanager
def unharmed(fabric: Fabric) -> Iterator[None]:
    """Within: anything. Afterwards the host is the same process, not larger, and holds no descriptor more."""
    pid = fabric.host_pid()
    fds, memory = descriptors(pid), resident(pid)
    yield
    # this process has connections that the host may not know to be closed, and it is allowed a number of them
    wait_until(lambda: descriptors(pid) <= fds, 5, f"no more than {fds} descriptors")
    assert answer_time(fabric) < SOON
    assert fabric.host_pid() == pid
    assert resident(pid) - memory < 5 * MIB


def answer_time(fabric: Fabric) -> float:
    """Seconds that root waits for an answer, connecting included."""
    begin = time.monotonic()
    assert fabric.call("fabric.ping")["ready"]
    return time.monotonic() - begin


# ------------------------------------------------------------------------------------------- permission


def test_the_socket_is_open_to_root_and_the_group(fabric: Fabric) -> None:
    fabric.up()
    status = path(fabric).stat()
    assert (status.st_mode & 0o7777, status.st_uid, status.st_gid) == (0o660, 0, readers.group_id())
    names = {entry.gr_gid: entry.gr_name for entry in grp.getgrall()}
    assert names[status.st_gid] == ("vnicd" if "vnicd" in names.values() else "root")


def test_files_are_for_root_and_the_group(guarded: Fabric, gid: int) -> None:
    """The logs and the state; others are told so."""
    log = guarded.runtime / "log" / "host.log"
    for file in (log, log.with_name(f"{guarded.name('blue')}.log"), guarded.runtime / "state.json"):
        status = file.stat()
        assert (status.st_mode & 0o7777, status.st_uid, status.st_gid) == (0o640, 0, readers.group_id())
    for words in ("logs", "logs {blue}"):
        done = run_as(guarded, NOBODY, NOBODY, words)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (11, "", 1)
        assert "not allowed to read" in done.stderr and "join the group vnicd" in done.stderr
    os.chown(log, 0, gid)
    done = run_as(guarded, NOBODY, gid, "logs")
    assert done.returncode == 0 and " ready" in done.stdout


@pytest.mark.parametrize("words", READS)
def test_a_member_of_the_group_reads(guarded: Fabric, gid: int, words: str) -> None:
    done = run_as(guarded, NOBODY, gid, words)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


@pytest.mark.parametrize("words", CHANGES)
def test_a_member_of_the_group_changes_nothing(guarded: Fabric, gid: int, words: str) -> None:
    before = guarded.call("partition.list"), guarded.host_pid()
    done = run_as(guarded, NOBODY, gid, words)
    assert (done.returncode, done.stdout) == (11, "")
    assert done.stderr.startswith("vnicctl: only root can ") and "sudo" in done.stderr
    assert done.stderr.count("\n") == 1
    assert (guarded.call("partition.list"), guarded.host_pid()) == before


@pytest.mark.parametrize("words", READS)
def test_others_cannot_connect(guarded: Fabric, gid: int, words: str) -> None:
    assert gid != NOBODY
    done = run_as(guarded, NOBODY, NOBODY, words)
    assert done.returncode == 11
    assert (
        json.loads(done.stdout)["error"]["code"] == "not_permitted" if "--json" in words else not done.stdout
    )
    assert str(path(guarded)) in done.stderr and "group vnicd" in done.stderr
    assert done.stderr.count("\n") == 1


# ---------------------------------------------------------------------------------------------- crowds


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


HALF = request(1, "status", {})[:-9]
CROWDS = {
    "silent": b"",
    "half a request": HALF,
    "never reads": request(1, "links", {}) * 500,
    "endless": b"x" * 4000,
}


def say(sock: socket.socket, data: bytes) -> None:
    """As much of it as is taken at once; the host may have closed the connection."""
    sock.setblocking(False)
    try:
        sock.send(data)
    except (BlockingIOError, BrokenPipeError, ConnectionResetError):
        pass


@pytest.mark.usefixtures("many_descriptors")
@pytest.mark.parametrize("kind", CROWDS)
@pytest.mark.parametrize("who", ["member", "root"])
def test_a_thousand_clients_at_once(guarded: Fabric, gid: int, who: str, kind: str) -> None:
    uid = NOBODY if who == "member" else 0
    pid = guarded.host_pid()
    fds, times = descriptors(pid), []
    with unharmed(guarded), ExitStack() as stack, Prober(path(guarded)) as prober:
        for _ in range(10):
            crowd = connect(path(guarded), uid, gid, 100)
            for sock in crowd:
                stack.callback(sock.close)
                say(sock, CROWDS[kind])
            times.append(prober.time())
        times += [prober.time() for _ in range(20)]
        assert max(times) < SOON
        assert descriptors(pid) - fds <= MAX_OF_OWNER + 1
        assert run_as(guarded, NOBODY, gid, "status").returncode == 0


# ------------------------------------------------------------------------------------------ descriptors


def test_descriptors_that_nobody_asked_for(guarded: Fabric, gid: int) -> None:
    """They are refused, or closed by an older kernel; what comes without them is answered."""
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0] * 100))]
    with unharmed(guarded):
        for uid in (0, NOBODY):
            for _ in range(20):
                with connect(path(guarded), uid, gid)[0] as sock:
                    try:
                        sock.sendmsg([request(1, "fabric.ping", {})], rights)
                    except PermissionError:
                        sock.sendall(request(1, "fabric.ping", {}))
                    assert json.loads(sock.recv(1 << 16))["result"]["ready"]


# ------------------------------------------------------------------------------------------------ fuzz

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
NAMES = st.sampled_from(
    [*(field.name for spec in (PartitionSpec, UplinkSpec) for field in fields(spec)), "declared", "dry_run"]
)
WORDS = st.sampled_from(
    ["", "a/b", "10.79.0.9/24", "fd79::1/64", "10mbit", "8080:web:80", "02:00:00:00:00:07", "nat", "host"]
)
PARAMS = st.dictionaries(NAMES | st.text(max_size=8), JSON | WORDS | st.lists(WORDS, max_size=3), max_size=6)

HARMLESS: dict[str, dict[str, Any]] = {
    "partition.add": {"name": "a/b"},
    "uplink.set": {"nic": "a/b"},
    "fabric.apply": {"dry_run": True},
    **{name: {"nonsense": 1} for name in ("fabric.down", "partition.remove", "uplink.clear")},
}
"""What makes sure that a request to change something can't succeed."""


def make_request(ident: Any, method: str, params: Any) -> bytes:
    if isinstance(params, dict):
        params = {**params, **HARMLESS.get(method, {})}
    elif method in HARMLESS:
        params = HARMLESS[method]
    return json.dumps({"id": ident, "method": method, "params": params}).encode() + b"\n"


REQUESTS = st.builds(
    make_request,
    st.integers() | JSON,
    st.sampled_from(sorted(access.RULES)) | st.text(max_size=12),
    PARAMS | JSON,
)
CUT = st.builds(lambda data, keep: data[: round(len(data) * keep)], REQUESTS, st.floats(0, 1))
NESTED = st.integers(1, 3000).map(
    lambda depth: b'{"method": "stats", "params": {"name": ' + b"[" * depth + b"\n"
)
LONG = st.sampled_from([4095, 4096, 4097, 20_000, 200_000]).map(lambda size: b"y" * size + b"\n")
PIECES = st.lists(REQUESTS | REQUESTS | REQUESTS | CUT | NESTED | LONG | st.binary(max_size=64), max_size=6)


def answers(sock: socket.socket, data: bytes) -> list[dict[str, Any]]:
    """Say this and no more, and read all that comes back."""
    try:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
    except (BrokenPipeError, ConnectionResetError):
        pass  # a line was too long
    received = bytearray()
    try:
        while chunk := sock.recv(1 << 16):
            received += chunk
    except ConnectionResetError:
        pass
    assert not received or received.endswith(b"\n")
    return [json.loads(line) for line in received.splitlines()]


def lines_answered(data: bytes, longest: int) -> int:
    """How many answers there must be: one for each line, to the first that is too long."""
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    return next((n for n, line in enumerate(lines, 1) if len(line) > longest), len(lines))


def check_answer(answer: dict[str, Any]) -> None:
    assert type(answer["id"]) is int
    if "error" in answer:
        assert answer["error"]["code"] in BY_CODE
        assert "internal error" not in answer["error"]["message"]
    else:
        assert "result" in answer


def talk(fabric: Fabric, gid: int) -> Callable[[list[bytes], bool, bool], None]:
    """Says some pieces as root or as a member of the group, and reads the answers or leaves before them."""

    def one(pieces: list[bytes], as_root: bool, stay: bool) -> None:
        uid = 0 if as_root else NOBODY
        data = b"".join(pieces)
        with connect(path(fabric), uid, gid)[0] as sock:
            if not stay:
                say(sock, data)
                return
            got = answers(sock, data)
        for answer in got:
            check_answer(answer)
        assert len(got) == lines_answered(data, access.longest_request(uid))

    return one


def test_anything_at_all(guarded: Fabric, gid: int) -> None:
    one = talk(guarded, gid)
    before = guarded.call("partition.list")
    end = time.monotonic() + 5

    @settings(max_examples=700, database=None, suppress_health_check=list(HealthCheck))
    @given(PIECES, st.booleans(), st.integers(0, 3).map(bool))
    def fuzz(pieces: list[bytes], as_root: bool, stay: bool) -> None:
        if time.monotonic() < end:
            one(pieces, as_root, stay)

    with unharmed(guarded):
        fuzz()
    assert guarded.call("partition.list") == before


@pytest.mark.parametrize("uid", [0, NOBODY])
def test_a_request_in_single_bytes_and_several_at_once(guarded: Fabric, gid: int, uid: int) -> None:
    with unharmed(guarded), connect(path(guarded), uid, gid)[0] as sock:
        for byte in request(7, "fabric.ping", {}):
            sock.send(bytes([byte]))
        with sock.makefile("rb") as lines:
            assert json.loads(lines.readline())["id"] == 7
            sock.sendall(b"".join(request(n, "fabric.ping", {}) for n in range(200)))
            assert [json.loads(lines.readline())["id"] for _ in range(200)] == list(range(200))
