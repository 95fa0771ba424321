"""vnicd host --config: the fabric comes up as the file declares it, also where its NIC is not there yet."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.framework.fabric.apply import apply, lines, reaches, text_for
from tests.framework.fabric.fabric import Fabric
from tests.framework.uplink.uplink import NIC, Machine
from tests.framework.waiting import wait_until

PAIR = """
hugepages = "never"
idle_timeout = 20
[partitions.@web]
addresses = ["10.77.0.1/24"]
[partitions.@db]
addresses = ["10.77.0.2/24"]
"""


def write(fabric: Fabric, text: str) -> Path:
    path = fabric.runtime / "vnicd.toml"
    fabric.runtime.mkdir(exist_ok=True)
    path.write_text(text_for(fabric, text))
    return path


def start(fabric: Fabric, text: str, *words: str) -> subprocess.Popen[bytes]:
    """A hosting daemon that has applied the text; it reads the file only at its start."""
    path = write(fabric, text)
    argv = [*(["nsenter", f"--net={fabric.netns}", "--"] if fabric.netns else [])]
    argv += [sys.executable, "-m", "vnicd", "host", "--config", str(path), *words]
    host = fabric.popen(argv, stderr=subprocess.PIPE)
    control = fabric.runtime / "control.sock"
    wait_until(lambda: control.exists() and fabric.call("fabric.ping")["ready"], 10, "the host is ready")
    # Whoever applies waits for the one before, which is the start's.
    apply(fabric, text, "--dry-run", check=False)
    path.unlink()
    return host


def names(fabric: Fabric) -> set[str]:
    return {each["name"] for each in fabric.call("partition.list")["partitions"]}


def test_the_fabric_is_as_declared(fabric: Fabric) -> None:
    host = start(fabric, PAIR, "--poll-us", "70")
    assert lines(fabric, PAIR.replace("idle", "poll_us = 70\nidle")) == ["nothing to change"]
    assert lines(fabric, PAIR) == ["~ option poll_us: 70 -> 100 (takes effect when vnicd is restarted)"]
    web, db = fabric.partition("web"), fabric.partition("db")
    assert reaches(web, db.ip)
    pids = web.pid, db.pid
    host.terminate()
    assert host.wait(10) == 0
    start(fabric, PAIR + "[partitions.@new]\n")
    assert (web.pid, db.pid) == pids
    assert names(fabric) == {fabric.name(label) for label in ("web", "db", "new")}
    assert lines(fabric, PAIR) == ["- partition new"]


def test_what_fails_is_logged_and_the_rest_is_there(fabric: Fabric) -> None:
    host = start(fabric, PAIR + '[partitions.@lost]\nnetns = "not-there"\n')
    assert names(fabric) == {fabric.name(label) for label in ("web", "db")}
    host.terminate()
    _, told = host.communicate(timeout=10)
    assert f"add partition {fabric.name('lost')}: there is no network namespace".encode() in told


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ("[partitions.web]\nmtu = 1\n", 7, ":2: partitions.web.mtu: the MTU must be 576 to 65000, not 1"),
        ("\nx\n", 7, ":2: not TOML: "),
        (None, 5, "there is no file "),
    ],
)
def test_a_file_with_a_mistake(fabric: Fabric, text: str | None, code: int, says: str) -> None:
    """One line, and nothing has begun."""
    path = write(fabric, text or "")
    if text is None:
        path.unlink()
    assert says in refused(fabric, path, code)
    path.unlink(missing_ok=True)
    fabric.runtime.rmdir()


@pytest.mark.parametrize("kind", ["fifo", "directory", "device"])
def test_what_is_no_file(fabric: Fabric, tmp_path: Path, kind: str) -> None:
    """The daemon does not wait for what may come out of it."""
    path = Path("/dev/zero") if kind == "device" else tmp_path / "vnicd.toml"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    assert refused(fabric, path, 7) == f"vnicd: {path} is not a regular file\n"
    assert not fabric.runtime.exists()


def refused(fabric: Fabric, path: Path, code: int) -> str:
    """The one line with which a hosting daemon refuses to start with this file."""
    argv = [sys.executable, "-m", "vnicd", "host", "--config", str(path)]
    done = subprocess.run(argv, env=fabric.env, capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("vnicd: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_a_nic_that_comes_later(machine: Machine) -> None:
    """As one may at boot; a file that is applied later must name one that is there."""
    fabric = machine.fabric
    machine.here.run(["ip", "link", "del", NIC])
    text = f'[uplink]\nnic = "{NIC}"\nmode = "nat"\n[partitions.@web]\n'
    start(fabric, text)
    assert machine.uplink["state"] == "absent"
    web = fabric.partition("web")
    assert web.addresses == ("10.78.0.2/24", "fd78::2/64")
    machine.plug()
    wait_until(lambda: machine.uplink["state"] == "up", 5, "the uplink is up")
    assert reaches(web, machine.remote.ip)
    assert lines(fabric, text) == ["nothing to change"]


def test_a_host_that_is_stopped_while_it_applies(fabric: Fabric) -> None:
    """What it has begun is finished or taken back, and the next one goes on."""
    text = "".join(f'[partitions.@p{n}]\naddresses = ["10.77.0.{n}/24"]\n' for n in range(1, 9))
    path = write(fabric, text)
    argv = [sys.executable, "-m", "vnicd", "host", "--config", str(path)]
    host = fabric.popen(argv)
    control = fabric.runtime / "control.sock"
    wait_until(lambda: control.exists() and names(fabric), 10, "it has begun")
    host.terminate()
    assert host.wait(15) == 0
    start(fabric, text)
    assert names(fabric) == {fabric.name(f"p{n}") for n in range(1, 9)}
    one, last = fabric.partition("p1"), fabric.partition("p8")
    assert reaches(one, last.ip)
    assert lines(fabric, text) == ["nothing to change"]
