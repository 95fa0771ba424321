"""How a partition is served: the states of a port, and that a late report changes nothing."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import fields

import pytest

from tests.framework.source_tree import ROOT
from vnicd.errors import Busy
from vnicd.host.ports.port import TRANSITIONS, Port, PortState, Stage
from vnicd.spec.partition import make_partition

HOST = ROOT / "vnicd/host"

REPORTS: dict[PortState, Callable[[Port], None]] = {
    PortState.STARTING: Port.daemon_started,
    PortState.UP: Port.daemon_came_up,
    PortState.DOWN: Port.daemon_died,
    PortState.FAILED: lambda port: port.revival_failed("no TAP device can be made"),
}

WAYS: dict[PortState, tuple[PortState, ...]] = {
    PortState.STARTING: (),
    PortState.UP: (PortState.UP,),
    PortState.DOWN: (PortState.DOWN,),
    PortState.FAILED: (PortState.FAILED,),
}
"""The reports that lead from a new port to each state."""

LATE = {(PortState.UP, PortState.STARTING), (PortState.UP, PortState.FAILED)}
"""(state, report) that do not go together."""


@pytest.fixture
def port() -> Iterator[Port]:
    made = Port(make_partition("blue"), 1)
    yield made
    made.counters.close()


@pytest.mark.parametrize("report", PortState)
@pytest.mark.parametrize("state", PortState)
def test_what_follows_each_report_in_each_state(port: Port, state: PortState, report: PortState) -> None:
    for each in WAYS[state]:
        REPORTS[each](port)
    assert port.state is state
    REPORTS[report](port)
    assert port.state is (state if (state, report) in LATE else report)
    assert (report in TRANSITIONS[state]) == (report is not state and (state, report) not in LATE)


def test_only_a_failed_port_has_a_reason(port: Port) -> None:
    for report in (PortState.FAILED, PortState.STARTING, PortState.FAILED, PortState.UP, PortState.FAILED):
        REPORTS[report](port)
        assert bool(port.reason) == (port.state is PortState.FAILED)
    assert port.state is PortState.UP


def test_who_waits_for_a_port_is_told(port: Port) -> None:
    port.daemon_came_up()
    assert port.up.is_set()
    port.daemon_died()
    port.revival_began()
    assert not port.up.is_set()
    assert port.restarts == 1
    port.removed()
    assert port.up.is_set(), "it will never come"


def test_the_words_that_users_see(port: Port) -> None:
    assert [state.value for state in PortState] == ["starting", "up", "down", "failed"]
    assert port.to_json()["state"] == "starting"


@pytest.mark.parametrize(
    ("stage", "words"), [(Stage.ADDING, "is being added"), (Stage.REMOVING, "is being removed")]
)
def test_a_port_between_two_stages_is_busy(port: Port, stage: Stage, words: str) -> None:
    port.stage = stage
    assert port.saved.unfinished
    with pytest.raises(Busy, match=words):
        port.check_member()
    port.added()
    port.check_member()
    assert not port.saved.unfinished


def assignments(source: str) -> list[str]:
    """`port.FIELD = ...` in a source, also among several targets and with an operator."""
    names = {field.name for field in fields(Port)}
    return sorted(
        f"{node.lineno}: {ast.unparse(node)}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and node.attr in names
        and ast.unparse(node.value).endswith("port")
    )


def test_nobody_else_writes_the_fields_of_a_port() -> None:
    paths = [path for path in HOST.rglob("*.py") if path.name != "port.py"]
    assert len(paths) > 20
    found = {str(path): written for path in paths if (written := assignments(path.read_text()))}
    assert not found


def test_an_assignment_to_a_field_is_found() -> None:
    assert assignments("port.tap = -1\n") == ["1: port.tap"]
    assert assignments("a.port.pid, x = 1, 2\nport.restarts += 1\n") == ["1: a.port.pid", "2: port.restarts"]
    assert not assignments("channel.port = 3\nsupport.other = 1\nx[port.number] = port.tap\n")
