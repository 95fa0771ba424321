"""What the daemons log, where it goes when files are moved, and why a daemon does not start."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from tests.framework.fabric.fabric import Fabric
from tests.framework.waiting import wait_until
from tests.system.conftest import MakeFabric
from vnicd.protocol import log_line
from vnicd.protocol.log_line import LogLine

SOON_S = 8.0
"""Seconds in which a daemon that can't start is told of; one is waited for 10 seconds."""

BROKEN = """
import sys
if "partition" in sys.orig_argv:
    sys.modules["vnicd.link.endpoint"] = None
"""
"""As a module that is not there has it for the interpreter of a partition daemon."""


def lines(path: Path) -> list[LogLine]:
    found = [log_line.parse(line) for line in path.read_text().splitlines()]
    assert all(line.time for line in found)
    return found


def log_of(pid: int) -> str:
    """The file that is the standard error of a process."""
    return str(Path(f"/proc/{pid}/fd/2").readlink())


def test_who_changed_what_and_where_it_is_logged(make_fabric: MakeFabric) -> None:
    """Also when files are moved, and at a level that hides all that vnicd says by itself."""
    fabric = make_fabric()
    fabric.cli("up", "--log-level", "error")
    blue = fabric.add("blue", "10.77.0.1/24")
    host, log, own = (
        fabric.host_pid(),
        fabric.runtime / "log/host.log",
        fabric.runtime / f"log/{blue.name}.log",
    )
    fabric.cli("partition", "add", blue.name, check=False)
    first, second = lines(log)
    assert (first.level, second.level) == ("notice", "warning")
    assert first.text.startswith(f"partition.add {blue.name} addresses=10.77.0.1/24")
    assert "done; for root (uid 0)" in first.text
    assert "failed: the partition " in second.text
    log.rename(log.with_name("moved"))
    own.unlink()
    for pid in (blue.pid, host):
        os.kill(pid, signal.SIGHUP)
    wait_until(lambda: [log_of(host), log_of(blue.pid)] == [str(log), str(own)], 10, "both have new files")
    assert lines(log) == []
    fabric.cli("partition", "remove", blue.name)
    assert [line.text.split()[0] for line in lines(log)] == ["partition.remove"]
    assert not own.exists()


def test_a_daemon_that_cannot_start_says_why(make_fabric: MakeFabric, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(BROKEN)
    fabric = make_fabric()
    fabric.env["PYTHONPATH"] = str(tmp_path)
    fabric.up()
    assert_refused(fabric, 1, "exit status 1: ModuleNotFoundError: import of vnicd.link.endpoint halted")
    deaths = [line for line in lines(fabric.runtime / "log/host.log") if "has died" in line.text]
    assert len(deaths) == 1


def test_a_directory_that_the_daemon_may_not_enter(make_fabric: MakeFabric) -> None:
    fabric = make_fabric().up()
    fabric.runtime.chmod(0o700)
    assert_refused(fabric, 1, f"the runtime directory {fabric.runtime} can't be entered by user ")
    fabric.runtime.chmod(0o755)
    fabric.add("blue", "10.77.0.1/24")


def assert_refused(fabric: Fabric, exit_code: int, why: str) -> None:
    begin = time.monotonic()
    done = fabric.cli("partition", "add", fabric.name("blue"), check=False)
    assert time.monotonic() - begin < SOON_S
    assert done.returncode == exit_code
    assert done.stderr.startswith(f"vnicctl: the daemon of partition {fabric.name('blue')} can't start: ")
    assert why in done.stderr
    assert not fabric.json("partition", "list")["partitions"]
