"""Bad input: one clear line on standard error, an exit code of its own, and nothing half-made left."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.framework.fabric.fabric import VNICCTL, Fabric
from tests.framework.fabric.namespaces import named
from tests.framework.fabric.users import NOBODY, program_as
from tests.system.conftest import MakeFabric, Pair

ADD = "partition add"

BAD = [
    # words; {new} is a free name, {blue} one that exists with 10.77.0.1, exit code, what the line says
    (f"{ADD} a/b", 7, "a/b"),
    (f"{ADD} ../x", 7, "../x"),
    (f"{ADD} {'x' * 33}", 7, "x" * 33),
    (f"{ADD} host", 7, "host"),
    (f"{ADD} {{blue}}", 6, "{blue}"),
    (f"{ADD} {{outside}}", 6, "{outside}"),
    (f"{ADD} {{dangling}}", 6, "/run/netns/{dangling} exists and is no namespace"),
    (f"{ADD} {{new}} --netns {{dangling}}", 9, "/run/netns/{dangling}"),
    (f"{ADD} {{new}} --mtu 70000", 7, "70000"),
    (f"{ADD} {{new}} --mtu 575", 7, "575"),
    (f"{ADD} {{new}} --mtu 1279 --address fd78::1/64", 7, "1279"),
    (f"{ADD} {{new}} --mtu many", 7, "--mtu must be a whole number"),
    (f"{ADD} {{new}} --address 10.77.0.300/24", 7, "10.77.0.300"),
    (f"{ADD} {{new}} --address 10.77.0.9", 7, "10.77.0.9"),
    (f"{ADD} {{new}} --address 10.77.0.0/24", 7, "10.77.0.0"),
    (f"{ADD} {{new}} --address 224.0.0.1/24", 7, "224.0.0.1"),
    (f"{ADD} {{new}} --address ::ffff:1.2.3.4/96", 7, "1.2.3.4"),
    (f"{ADD} {{new}} --address 10.78.0.1/24 --address 10.78.0.1/16", 7, "twice"),
    (f"{ADD} {{new}} --address 10.77.0.1/24", 8, "10.77.0.1"),
    (f"{ADD} {{new}} --address 10.77.0.1/8", 8, "10.77.0.1"),
    (f"{ADD} {{new}} --address fd77:0::1/64", 8, "fd77::1"),
    (f"{ADD} {{new}} --mac {{mac}}", 8, "{mac}"),
    (f"{ADD} {{new}} --mac 01:00:00:00:00:01", 7, "01:00:00:00:00:01"),
    (f"{ADD} {{new}} --mac 02:00:00", 7, "02:00:00"),
    (f"{ADD} {{new}} --ifname averyverylongname", 7, "averyverylongname"),
    (f"{ADD} {{new}} --ifname lo", 7, "lo"),
    (f"{ADD} {{new}} --netns not-there", 9, "not-there"),
    (f"{ADD} {{new}} --netns /proc/1/ns/pid", 9, "/proc/1/ns/pid"),
    (f"{ADD} {{new}} --netns /etc/passwd", 9, "/etc/passwd"),
    (f"{ADD} {{new}} --netns {{fifo}}", 9, "{fifo}"),
    (f"{ADD} {{new}} --netns /dev/null", 9, "/dev/null"),
    (f"{ADD} {{new}} --netns relative/path", 7, "relative/path"),
    (f"{ADD} {{new}} --netns {{outside}} --ifname taken0", 15, "taken0"),
    (f"{ADD} {{new}} --netns {{blue}}", 15, "vnic0"),
    ("partition remove {new}", 5, "{new}"),
    ("partition show {new}", 5, "{new}"),
    ("stats {new}", 5, "{new}"),
    ("up", 4, "up already"),
    ("up --hugepages sometimes", 7, "sometimes"),
    ("up --idle-timeout 0", 7, "timeout"),
    ("up --poll-us -1", 7, "-1"),
    ("partition show", 2, "NAME"),
    ("nonsense", 2, "nonsense"),
    ("status --nonsense", 2, "--nonsense"),
]


@pytest.fixture(scope="module")
def outside(shared: Fabric) -> str:
    """A namespace made by somebody else, with an interface in it."""
    name = shared.namespace("outside")
    subprocess.run(["ip", "-n", name, "tuntap", "add", "taken0", "mode", "tap"], check=True)
    return name


@pytest.fixture(scope="module")
def dangling(shared: Fabric) -> Iterator[str]:
    """The name of a symbolic link in /run/netns that leads nowhere."""
    link = Path("/run/netns", shared.name("dangling"))
    link.symlink_to("/nonexistent")
    yield link.name
    link.unlink()


def state(fabric: Fabric) -> tuple[object, ...]:
    """All that a failed command must leave as it was."""
    partitions = fabric.call("partition.list")
    own = {name for name in named() if name.endswith(f"-{fabric.tag}")}  # others make theirs meanwhile
    inside = [
        subprocess.run(["ip", "-n", name, "-br", "addr"], capture_output=True, text=True).stdout
        for name in sorted(own)
    ]
    files = set(fabric.runtime.rglob("*"))
    return partitions, own, inside, files, fabric.pids()


def one_line(stderr: str) -> str:
    """The line, when it is one and vnicctl's."""
    assert stderr.startswith("vnicctl: "), stderr
    assert stderr.endswith("\n"), stderr
    assert stderr.count("\n") == 1, stderr
    assert "Traceback" not in stderr
    return stderr


@pytest.mark.parametrize("case", BAD, ids=[words for words, *_ in BAD])
def test_bad_input(
    shared: Fabric, pair: Pair, outside: str, dangling: str, tmp_path: Path, case: tuple[str, int, str]
) -> None:
    words, code, says = case
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    filled = {"new": shared.name("new"), "blue": pair[0].name, "mac": pair[0].mac, "outside": outside}
    filled |= {"fifo": str(fifo), "dangling": dangling}
    before = state(shared)
    done = shared.cli(*words.format(**filled).split(), check=False)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert says.format(**filled) in one_line(done.stderr)
    assert state(shared) == before


def test_empty_and_odd_names(shared: Fabric, pair: Pair) -> None:
    assert pair
    for name in ("", " ", "a b", "ä", "a\nb", "-x", ".", "..", "a\x1b[31m"):
        before = state(shared)
        done = shared.cli("partition", "add", "--", name, check=False)
        assert done.returncode == 7, name
        assert "\x1b" not in one_line(done.stderr)
        assert state(shared) == before


@pytest.mark.parametrize(
    "words",
    [
        "down",
        "status",
        "links",
        "stats",
        "partition list",
        "partition show x",
        "partition add x",
        "partition rm x",
    ],
)
def test_nothing_runs(fabric: Fabric, words: str) -> None:
    done = fabric.cli(*words.split(), check=False)
    assert (done.returncode, done.stdout) == (3, "")
    one_line(done.stderr)
    assert not fabric.runtime.exists()


def test_exec_when_nothing_runs(fabric: Fabric) -> None:
    done = fabric.cli("exec", "x", "--", "true", check=False)
    assert done.returncode == 125
    one_line(done.stderr)


def test_two_ups_at_once(fabric: Fabric) -> None:
    starting = [fabric.popen_cli("up", stderr=subprocess.PIPE) for _ in range(3)]
    results = [(process.communicate()[1].decode(), process.returncode) for process in starting]
    assert sorted(code for _, code in results) == [0, 4, 4]
    for error, code in results:
        assert code == 0 or one_line(error)
    assert len(fabric.pids()) == 1


def test_not_root(shared: Fabric, pair: Pair, make_fabric: MakeFabric) -> None:
    """An ordinary user may not start anything, and is told so."""
    assert pair
    nobody = program_as(NOBODY, NOBODY, VNICCTL)
    before = state(shared)
    for words in ("partition add x", "down"):
        done = subprocess.run([*nobody, *words.split()], capture_output=True, text=True, env=shared.env)
        assert done.returncode == 11, done.stderr
        one_line(done.stderr)
    assert state(shared) == before
    other = make_fabric()
    done = subprocess.run([*nobody, "up"], capture_output=True, text=True, env=other.env)
    assert done.returncode == 11
    one_line(done.stderr)
    assert not other.runtime.exists()


def test_a_runtime_directory_that_cannot_be(fabric: Fabric) -> None:
    file = fabric.runtime.with_name("file")
    file.touch()
    try:
        for place in (file, file / "below", Path("/nonexistent/below"), Path("/proc/vnicd")):
            environment = {**os.environ, "VNICD_RUNTIME_DIR": str(place)}
            done = subprocess.run([str(VNICCTL), "up"], capture_output=True, text=True, env=environment)
            assert done.returncode not in (0, 2), place
            one_line(done.stderr)
    finally:
        file.unlink()
