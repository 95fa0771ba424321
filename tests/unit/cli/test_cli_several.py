"""vnicctl partition remove, restart and wait: several names, failures among them, and states that are waited for."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from tests.framework.control.fakehost import FakeHost, partition
from tests.framework.fixtures import ErrorLine
from vnicd.cli.main import main
from vnicd.errors import Busy, NotPermitted, NotRunning, Taken

Captured = pytest.CaptureFixture[str]


def changes(host: FakeHost) -> list[tuple[str, str]]:
    return [(method, params["name"]) for method, params in host.requests if method != "partition.list"]


@pytest.mark.parametrize("command", ["remove", "restart"])
def test_each_name_once(host: FakeHost, capsys: Captured, command: str) -> None:
    assert main(["partition", command, "red", "blue", "red"]) == 0
    assert changes(host) == [(f"partition.{command}", "red"), (f"partition.{command}", "blue")]
    assert capsys.readouterr() == ("", "")


def test_an_unknown_name_changes_nothing(host: FakeHost, error_line: ErrorLine) -> None:
    assert main(["partition", "rm", "blue", "purple"]) == 5
    assert "there is no partition purple" in error_line()
    assert changes(host) == []


def test_a_failure_stops_no_other(host: FakeHost, capsys: Captured) -> None:
    failures = {"blue": Busy("blue is busy"), "red": Taken("red is taken")}
    host.answers["partition.remove"] = _failing(failures)
    assert main(["partition", "rm", "blue", "green", "red"]) == Busy.exit_code
    assert [name for _, name in changes(host)] == ["blue", "green", "red"]
    assert capsys.readouterr().err == "vnicctl: blue is busy\nvnicctl: red is taken\n"


def _failing(failures: dict[str, Any]) -> Any:
    from vnicd.protocol import control

    def answer(params: dict[str, Any]) -> Any:
        error = failures.get(params["name"])
        return control.failure(1, error) if error else {}

    return answer


@pytest.mark.parametrize(
    "error", [NotPermitted("only root can remove a partition"), NotRunning("it is going")]
)
def test_what_holds_for_all_is_said_once(host: FakeHost, error_line: ErrorLine, error: Any) -> None:
    host.answers["partition.remove"] = error
    assert main(["partition", "rm", "blue", "green"]) == error.exit_code
    assert error_line() == error.message


def test_waiting_until_up(host: FakeHost) -> None:
    lists = [[partition("blue", 1, state="starting")], [partition("blue", 1)]]
    host.answers["partition.list"] = lambda _: {"partitions": lists.pop(0) if len(lists) > 1 else lists[0]}
    assert main(["partition", "wait", "blue"]) == 0
    assert len(host.requests) == 2


def test_waiting_until_down_and_removed(host: FakeHost) -> None:
    assert main(["partition", "wait", "red", "green", "--until", "down"]) == 0
    assert main(["partition", "wait", "purple", "--until", "removed"]) == 0


def test_waiting_in_vain(host: FakeHost, error_line: ErrorLine) -> None:
    assert main(["partition", "wait", "blue", "red", "--timeout", "0"]) == 13
    assert error_line() == "not up in 0 s: red is failed; see: vnicctl doctor"
    assert main(["partition", "wait", "purple"]) == 5
    assert error_line().startswith("there is no partition purple")


def test_waiting_goes_on_without_a_host(runtime: Path) -> None:
    """Its socket is gone for a while, as during a restart of the hosting daemon; its state is there."""
    (runtime / "state.json").touch()
    first = FakeHost(
        runtime / "control.sock", {"partition.list": {"partitions": [partition("a", 1, state="down")]}}
    )
    codes: list[int] = []
    waiting = threading.Thread(
        target=lambda: codes.append(main(["partition", "wait", "a", "--timeout", "60"]))
    )
    waiting.start()
    while not first.requests:
        waiting.join(0.01)
    first.close()
    waiting.join(0.3)
    assert codes == []
    second = FakeHost(runtime / "control.sock", {"partition.list": {"partitions": [partition("a", 1)]}})
    waiting.join(60)
    second.close()
    assert codes == [0]


def test_waiting_when_the_fabric_goes_down(runtime: Path) -> None:
    host = FakeHost(runtime / "control.sock")
    codes: list[int] = []
    words = ["partition", "wait", "blue", "--until", "removed"]
    waiting = threading.Thread(target=lambda: codes.append(main(words)))
    waiting.start()
    while not host.requests:
        waiting.join(0.01)
    host.close()
    waiting.join(60)
    assert codes == [0]


def test_waiting_without_a_fabric(runtime: Path, error_line: ErrorLine) -> None:
    assert main(["partition", "wait", "blue"]) == 3
    assert error_line().startswith("no hosting daemon answers")
