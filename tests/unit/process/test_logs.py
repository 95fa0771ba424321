"""What of a daemon's messages is logged, and with which fields."""

from __future__ import annotations

import logging
import os
import sys
import threading
from pathlib import Path
from types import ModuleType

import pytest

from vnicd.process import logs
from vnicd.process.logs import Gate


class Sink(logging.Handler):
    """Remembers what it is given."""

    def __init__(self, level: int = logging.NOTSET) -> None:
        super().__init__(level)
        self.said: list[tuple[str, dict[str, str]]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append((logs.text_of(record), logs.fields_of(record)))


@pytest.fixture
def gate() -> tuple[logging.Logger, Gate, Sink]:
    log, gate, sink = logging.Logger("test"), Gate(), Sink()
    gate.behind.append(sink)
    log.addHandler(gate)
    return log, gate, sink


def test_a_fault_that_repeats_is_said_once(gate: tuple[logging.Logger, Gate, Sink]) -> None:
    log, gate_, sink = gate
    for _ in range(13):
        log.error("partition %s has no interface: %s", "blue", "gone")
    log.error("partition %s has no interface: %s", "green", "gone")
    gate_.say_counted(everything=True)
    assert sink.said == [
        ("partition blue has no interface: gone", {"VNICD_PARTITION": "blue"}),
        ("partition green has no interface: gone", {"VNICD_PARTITION": "green"}),
        (
            "partition blue has no interface: gone (12 more times in the last 0 s)",
            {"VNICD_PARTITION": "blue"},
        ),
    ]


def test_what_is_always_said(gate: tuple[logging.Logger, Gate, Sink]) -> None:
    log, _, sink = gate
    for _ in range(3):
        log.warning("%d%% of %s", 5, "blue", extra={logs.ALWAYS: True, "fields": {"VNICD_USER": "root"}})
    assert sink.said == [("5% of blue", {"VNICD_USER": "root"})] * 3


@pytest.mark.parametrize(
    ("text", "words", "partition"),
    [
        ("the daemon of partition %s has died", ("blue",), "blue"),
        ("%d%% of partition %s: %s", (5, "blue", "x"), "blue"),
        ("partition %d has no resolver: %s", (7, "x"), "7"),
        ("files in %s were deleted", ("/run/vnicd",), None),
        ("a partition can't be taken away: %s", ("x",), None),
    ],
)
def test_a_message_about_a_partition_has_it_as_a_field(
    gate: tuple[logging.Logger, Gate, Sink], text: str, words: tuple[object, ...], partition: str | None
) -> None:
    log, _, sink = gate
    log.warning(text, *words)
    assert sink.said[0][1].get("VNICD_PARTITION") == partition


def test_a_traceback_and_a_long_text_end_somewhere(gate: tuple[logging.Logger, Gate, Sink]) -> None:
    log, _, sink = gate
    try:
        raise ValueError("x" * 100_000)
    except ValueError:
        log.exception("a task failed")
    assert sink.said[0][0].startswith("a task failed\nTraceback")
    assert len(sink.said[0][0]) == logs.LONGEST_MESSAGE


def test_libraries_say_what_is_grave_alone(gate: tuple[logging.Logger, Gate, Sink]) -> None:
    _, gate_, sink = gate
    for name in ("pyroute2.netlink.core", "asyncio", "vnicd.host", "pyroute"):
        for level in (logging.DEBUG, logging.WARNING):
            gate_.handle(logging.makeLogRecord({"name": name, "levelno": level, "msg": f"{name} {level}"}))
    assert [text for text, _ in sink.said] == [
        "pyroute2.netlink.core 30",
        "asyncio 30",
        "vnicd.host 10",
        "vnicd.host 30",
        "pyroute 10",
        "pyroute 30",
    ]


def test_a_log_is_not_for_all(tmp_path: Path) -> None:
    """Also one that an earlier version has made."""
    path = tmp_path / "blue.log"
    path.touch(mode=0o644)
    for _ in range(2):
        os.close(logs.open_log(path))
        assert path.stat().st_mode & 0o7777 == 0o640
        path.unlink(missing_ok=True)


def test_what_goes_wrong_in_a_finalizer_is_one_line(gate: tuple[logging.Logger, Gate, Sink]) -> None:
    _, gate_, sink = gate
    root = logging.getLogger()
    before, hook = root.handlers, sys.unraisablehook
    root.handlers, sys.unraisablehook = [gate_], logs._aside
    try:
        Failing()
    finally:
        root.handlers, sys.unraisablehook = before, hook
    assert [text for text, _ in sink.said] == ["ValueError: too late, in Failing.__del__"]


class Failing:
    def __del__(self) -> None:
        raise ValueError("too late")


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_what_is_no_file_is_moved_aside(tmp_path: Path, kind: str) -> None:
    """And it is neither waited for, nor is anything written into what it leads to."""
    path, victim = tmp_path / "log" / "blue.log", tmp_path / "victim"
    path.parent.mkdir()
    victim.write_text("mine")
    if kind == "link":
        path.symlink_to(victim)
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    with pytest.raises(OSError):
        logs.open_file(path, os.O_RDONLY)
    fd = logs.open_log(path)
    os.write(fd, b"log")
    os.close(fd)
    assert not path.is_symlink()
    assert (path.read_text(), victim.read_text()) == ("log", "mine")
    assert sorted(each.name for each in path.parent.iterdir()) == ["blue.log", "blue.log.aside"]


def test_nobody_waits_for_a_journal_that_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is too much meanwhile is lost, and told of; what is left is written when it takes messages again."""
    goes_on, written = threading.Event(), []

    def send(text: str, **fields: object) -> None:
        assert goes_on.wait(30)
        written.append((text, fields["PRIORITY"], fields["VNICD_PARTITION"]))

    library = ModuleType("systemd.journal")
    monkeypatch.setattr(library, "send", send, raising=False)
    monkeypatch.setitem(sys.modules, "systemd", ModuleType("systemd"))
    monkeypatch.setitem(sys.modules, "systemd.journal", library)
    journal = logs.Journal({})
    log = logging.Logger("test")
    log.addHandler(journal)
    for number in range(logs.MOST_WAITING + 10):
        log.warning("partition %s is late", number)
    goes_on.set()
    journal.flush()
    log.error("partition %s is up", "blue")
    journal.flush()
    lost = logs.MOST_WAITING + 10 - len(written[:-1])
    assert lost >= 9
    assert any(f"{lost} messages before this one are lost" in text for text, _, _ in written)
    assert written[-1] == ("partition blue is up", 3, "blue")


def test_a_journal_without_a_thread_is_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """And its messages go to the journal again as soon as there is one."""
    written: list[str] = []
    said: list[str] = []
    library = ModuleType("systemd.journal")
    monkeypatch.setattr(library, "send", lambda text, **_: written.append(text), raising=False)
    monkeypatch.setitem(sys.modules, "systemd", ModuleType("systemd"))
    monkeypatch.setitem(sys.modules, "systemd.journal", library)
    monkeypatch.setattr(logs, "write", said.append)
    journal = logs.Journal({})
    log = logging.Logger("test")
    log.addHandler(journal)

    def no_thread(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as lack:
        lack.setattr(threading.Thread, "start", no_thread)
        log.error("one")
    log.error("two")
    journal.flush()
    assert (said, written) == (["<3>one"], ["two"])
