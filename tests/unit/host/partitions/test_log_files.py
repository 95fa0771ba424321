"""The logs of partition daemons, when something else has their names, or there can be none."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from vnicd.config import Paths
from vnicd.host.partitions import last_words
from vnicd.host.partitions.log_files import LARGEST, LogFiles
from vnicd.host.partitions.supervisor import Children
from vnicd.host.ports.port import Ports


class Daemon:
    """What is sent to it, by the file that it was handed."""

    def __init__(self) -> None:
        self.handed: list[os.stat_result] = []

    def send(self, message: dict[str, Any], fds: list[int]) -> None:
        assert message == {"op": "log"}
        self.handed.append(os.fstat(fds[0]))


def log_files(tmp_path: Path, daemon: Daemon | None) -> LogFiles:
    port = SimpleNamespace(spec=SimpleNamespace(name="blue"), channel=daemon)
    return LogFiles(Paths(tmp_path), cast(Ports, [port]), are_units=False)


@pytest.mark.parametrize("is_connected", [False, True])
def test_what_a_link_leads_to_is_left_alone(tmp_path: Path, is_connected: bool) -> None:
    daemon, victim, log = Daemon(), tmp_path / "victim", tmp_path / "log/blue.log"
    log.parent.mkdir()
    victim.write_bytes(b"x" * 2 * LARGEST)
    log.symlink_to(victim)
    files = log_files(tmp_path, daemon if is_connected else None)
    files.look()
    files.look()
    assert victim.stat().st_size == 2 * LARGEST
    assert not log.with_name("blue.log.1").exists()
    assert [facts.st_ino for facts in daemon.handed] == ([log.lstat().st_ino] if is_connected else [])
    assert log.is_symlink() != is_connected


def test_a_full_log_is_emptied_before_its_daemon_returns(tmp_path: Path) -> None:
    log = tmp_path / "log/blue.log"
    log.parent.mkdir()
    log.write_bytes(b"x" * LARGEST + b"y" * LARGEST)
    log_files(tmp_path, None).look()
    assert log.stat().st_size == 0
    assert log.with_name("blue.log.1").read_bytes() == b"y" * LARGEST


def test_a_log_is_handed_as_soon_as_there_can_be_one(tmp_path: Path) -> None:
    daemon = Daemon()
    files = log_files(tmp_path, daemon)
    (tmp_path / "log").symlink_to("/nonexistent")
    files.look()
    assert not daemon.handed
    (tmp_path / "log").unlink()
    files.look()
    files.look()
    assert [facts.st_ino for facts in daemon.handed] == [(tmp_path / "log/blue.log").stat().st_ino]


@pytest.mark.parametrize("kind", ["link", "file"])
def test_a_daemon_starts_without_a_log(tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    if kind == "link":
        (tmp_path / "log").symlink_to("/nonexistent")
    else:
        (tmp_path / "log").touch()
    fd = Children(Paths(tmp_path), lambda port: None)._open_log("blue")
    assert os.path.samestat(os.fstat(fd), Path(os.devnull).stat())
    os.close(fd)
    assert f"partition blue has no log for now: {tmp_path}/log" in caplog.text


def test_nobody_waits_for_the_last_words_in_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "blue.log")
    assert last_words.in_file(tmp_path / "blue.log", 0) == ""
