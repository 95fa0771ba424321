"""What systemd is told of a daemon, read from a socket that stands for systemd's."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.framework.systemd.notifysocket import NotifySocket
from vnicd.process.systemd_notify import Notifier, listening_sockets


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[NotifySocket]:
    with NotifySocket(tmp_path / "notify") as sock:
        monkeypatch.setenv("NOTIFY_SOCKET", sock.address)
        yield sock


@pytest.fixture
def notifier(systemd: NotifySocket) -> Notifier:
    return Notifier()


def test_without_systemd_nobody_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notifier = Notifier()
    notifier.ready("up")
    with notifier.reload(lambda: "up"):
        notifier.alive()
    notifier.stopping()
    assert not notifier.watchdog


def test_no_child_can_speak_in_our_name(systemd: NotifySocket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "1000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    assert Notifier().watchdog == 0.5
    assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} & os.environ.keys()


def test_the_watchdog_of_another_process_is_not_ours(
    systemd: NotifySocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "1000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid() + 1))
    assert Notifier().watchdog == 0.0


def test_its_life(systemd: NotifySocket, notifier: Notifier) -> None:
    notifier.status("too early")
    notifier.ready("2 of 2 up")
    notifier.status("1 of 2 up")
    notifier.alive()
    notifier.stopping()
    notifier.status("too late")
    assert systemd.said() == [
        {"READY": "1", "STATUS": "2 of 2 up"},
        {"STATUS": "1 of 2 up"},
        {"WATCHDOG": "1"},
        {"STOPPING": "1", "STATUS": "stopping"},
    ]


def test_a_reload_begins_now_and_ends_ready(systemd: NotifySocket, notifier: Notifier) -> None:
    notifier.ready("1 of 1 up")
    systemd.said()
    before = time.monotonic_ns() // 1000
    with notifier.reload(lambda: "2 of 2 up"):
        (begin,) = systemd.said()
        notifier.status("in the middle")
        notifier.alive()
        assert systemd.said() == [{"WATCHDOG": "1"}]
    assert begin.pop("RELOADING") == "1"
    assert before <= int(begin.pop("MONOTONIC_USEC")) <= time.monotonic_ns() // 1000
    assert begin == {"STATUS": "applying"}
    assert systemd.said() == [{"READY": "1", "STATUS": "2 of 2 up"}]


def test_a_reload_that_fails_is_over_too(systemd: NotifySocket, notifier: Notifier) -> None:
    notifier.ready("up")
    with pytest.raises(ValueError, match="no"), notifier.reload(lambda: "still up"):
        raise ValueError("no")
    assert systemd.said()[-1] == {"READY": "1", "STATUS": "still up"}


def test_reloads_that_overlap_are_one(systemd: NotifySocket, notifier: Notifier) -> None:
    notifier.ready("up")
    with notifier.reload(lambda: "last"):
        with notifier.reload(lambda: "first"):
            pass
        assert [message for message in systemd.said() if "READY" in message] == [
            {"READY": "1", "STATUS": "up"}
        ]
    assert systemd.said() == [{"READY": "1", "STATUS": "last"}]


def test_what_is_applied_at_the_start_makes_nothing_ready(systemd: NotifySocket, notifier: Notifier) -> None:
    with notifier.reload(lambda: "half made"):
        pass
    assert systemd.said() == []


def test_what_is_applied_at_the_end_does_not_say_ready_again(
    systemd: NotifySocket, notifier: Notifier
) -> None:
    notifier.ready("up")
    with notifier.reload(lambda: "up"):
        notifier.stopping()
    assert [list(message) for message in systemd.said()][-1] == ["STOPPING", "STATUS"]


def test_an_abstract_address(monkeypatch: pytest.MonkeyPatch) -> None:
    with NotifySocket(f"@vnicd-test-{os.getpid()}") as systemd:
        monkeypatch.setenv("NOTIFY_SOCKET", systemd.address)
        Notifier().ready("up")
        assert systemd.said() == [{"READY": "1", "STATUS": "up"}]


def test_systemd_that_does_not_listen_is_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    Notifier().ready("up")


def test_sockets_for_another_process_are_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[socket.socket] = []
    for pid in ("", str(os.getpid() + 1)):
        monkeypatch.setenv("LISTEN_PID", pid)
        monkeypatch.setenv("LISTEN_FDS", "1")
        found += listening_sockets()
        assert not {"LISTEN_PID", "LISTEN_FDS"} & os.environ.keys()
    assert found == []
