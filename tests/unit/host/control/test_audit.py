"""Who asked for which change: one line for each, and no flood of those who are refused."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vnicd.errors import Invalid, NotPermitted
from vnicd.host.control import audit
from vnicd.host.control.audit import Asker, Audit
from vnicd.process import logs
from vnicd.process.repeats import FIRST_WINDOW_S, Repeats
from vnicd.protocol.log_line import NOTICE

ROOT = Asker(0, 4242, "vnicctl", None)
REFUSAL = NotPermitted("only root can add a partition", "run it with sudo")


@pytest.fixture(autouse=True)
def users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "passwd"
    path.write_text("root:x:0:0:root:/root:/bin/sh\nodd:x:x\nalice:x:1000:1000::/home/alice:/bin/sh\n")
    monkeypatch.setattr(audit, "USERS", path)


@pytest.fixture
def said() -> Iterator[list[logging.LogRecord]]:
    found: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = found.append  # type: ignore[method-assign]
    audit.log.addHandler(handler)
    yield found
    audit.log.removeHandler(handler)


def test_a_change_has_one_line_with_who_asked(said: list[logging.LogRecord]) -> None:
    params = {"name": "blue", "addresses": ["10.77.0.1/24", "fd77::1/64"], "mtu": None, "rate": 10**6}
    Audit().done(ROOT, "partition.add", params, {"port": 1})
    assert [(each.levelno, each.getMessage()) for each in said] == [
        (NOTICE, "partition.add blue addresses=10.77.0.1/24,fd77::1/64 rate=1000000: done; "
                   "for root (uid 0), pid 4242, vnicctl")
    ]  # fmt: skip
    assert logs.fields_of(said[0]) == {
        "VNICD_USER": "root",
        "VNICD_PID": "4242",
        "VNICD_PROGRAM": "vnicctl",
        "VNICD_METHOD": "partition.add",
        "VNICD_PARTITION": "blue",
    }


def test_a_failure_has_its_error(said: list[logging.LogRecord]) -> None:
    asker = Asker(0, 7, "python3", 1000)
    Audit().failed(asker, "partition.remove", {"name": "re\nd\x1b[2J"}, Invalid("no such name", "list them"))
    assert said[0].levelname == "WARNING"
    assert said[0].getMessage() == (
        "partition.remove re?d?[2J: failed: no such name; list them; "
        "for root (uid 0), logged in as alice (uid 1000), pid 7, python3"
    )
    assert logs.fields_of(said[0])["VNICD_LOGIN"] == "alice"


@pytest.mark.parametrize(
    ("method", "params", "words"),
    [
        ("fabric.down", {}, "fabric.down"),
        ("uplink.set", {"nic": "eth1", "mode": "nat", "propagate_link": True},
         "uplink.set nic=eth1 mode=nat propagate_link"),
        ("fabric.apply", {"declared": {"partitions": {"a": {}, "b": {}}, "uplink": {"nic": "x"}}, "allow_empty": False},
         "fabric.apply declared: 2 partitions, an uplink"),
        ("partition.set", {"name": "a", "addresses": [], "mtu": None, "rate": "0"},
         "partition.set a addresses=none mtu=none rate=0"),
        ("partition.add", {"name": 5, "addresses": [{}]}, "partition.add addresses={}"),
    ],
)  # fmt: skip
def test_what_was_asked_for(method: str, params: dict[str, Any], words: str) -> None:
    assert audit.request_words(method, params) == words


def test_what_was_asked_for_is_short() -> None:
    words = audit.request_words("partition.add", {"name": "a", "addresses": ["10.0.0.1/24"] * 1000})
    assert len(words) == audit.MOST_TEXT + 3


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ({}, "done"),
        (None, "done"),
        ({"changes": []}, "done, nothing to change"),
        ({"changes": [{"done": True}, {"done": False}]}, "done, 1 of 2 changes"),
        ({"changes": [{"done": False}], "refused": True}, "refused, and nothing was changed"),
    ],
)
def test_what_came_of_it(result: object, words: str) -> None:
    assert audit.outcome_words(result) == words


def test_who_is_refused_again_and_again_is_counted(said: list[logging.LogRecord]) -> None:
    now = 100.0
    watch = Audit()
    watch.refused = Repeats(lambda: now)
    for _ in range(1000):
        watch.refuse(1000, 1, "partition.add", REFUSAL)
    watch.refuse(1001, 1, "partition.add", REFUSAL)
    now += FIRST_WINDOW_S
    watch.look()
    refused = "partition.add: refused: only root can add a partition; run it with sudo; for "
    texts = [each.getMessage() for each in said]
    assert texts[0].startswith(refused + "alice (uid 1000), ")
    assert texts[1].startswith(refused + "user 1001, ")
    assert texts[2:] == ["partition.add: refused to alice (uid 1000) (999 more times in the last 60 s)"]


def test_this_process() -> None:
    who = audit.asker(os.getuid(), os.getpid())
    assert who.program == Path("/proc/self/comm").read_text().strip()
    assert audit.asker(0, 2**22 + 1) == Asker(0, 2**22 + 1, "", None)
