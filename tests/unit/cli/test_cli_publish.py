"""vnicctl publish against a hosting daemon that pretends: what is sent, and what is told."""

from __future__ import annotations

import json
from textwrap import dedent

import pytest

from tests.framework.control.fakehost import ANSWERS, FakeHost, published
from tests.framework.fixtures import ErrorLine
from vnicd.cli.main import main

Captured = pytest.CaptureFixture[str]


def test_add(host: FakeHost, capsys: Captured) -> None:
    assert main(["publish", "add", "8080:blue:80/tcp", "[2001:DB8::2]:53:dns:53/udp"]) == 0
    assert host.requests == [("publish.add", {"publish": ["8080:blue:80", "[2001:db8::2]:53:dns:53/udp"]})]
    assert capsys.readouterr() == ("", "")


def test_add_warns_of_a_port_that_leads_nowhere(host: FakeHost, capsys: Captured) -> None:
    host.answers["publish.add"] = {"published": [published("8080:blue:80", state="no-address")]}
    assert main(["publish", "add", "8080:blue:80"]) == 0
    err = capsys.readouterr().err
    assert err.startswith("warning: 8080:blue:80: partition blue has no address")
    assert err.count("\n") == 1


def test_bad_words_are_refused_without_asking_the_host(host: FakeHost, error_line: ErrorLine) -> None:
    assert main(["publish", "add", "8080:blue"]) == 7
    assert "8080:web:80" in error_line()
    assert host.requests == []


@pytest.mark.parametrize("word", ["remove", "rm", "del"])
def test_remove_and_its_aliases(host: FakeHost, capsys: Captured, word: str) -> None:
    assert main(["publish", word, "8080", "10.0.0.2:53/udp"]) == 0
    assert host.requests == [("publish.remove", {"publish": ["8080", "10.0.0.2:53/udp"]})]
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("word", ["list", "ls"])
def test_list(host: FakeHost, capsys: Captured, word: str) -> None:
    assert main(["publish", word]) == 0
    assert host.requests == [("publish.list", {})]
    assert capsys.readouterr().out == dedent(
        """\
        ADDRESS      PORT      PARTITION  ITS PORT  STATE         LEADS TO
        all          8080/tcp  blue             80  up            10.78.0.2, [fd78::2]
        2001:db8::2  53/udp    gone           5353  no-partition  -
        """
    )


def test_list_as_json(host: FakeHost, capsys: Captured) -> None:
    assert main(["publish", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == ANSWERS["publish.list"]


@pytest.mark.parametrize("argv", [["add", "8080:a:80"], ["rm", "80"], ["list"]])
@pytest.mark.usefixtures("runtime")
def test_not_running(error_line: ErrorLine, argv: list[str]) -> None:
    assert main(["publish", *argv]) == 3
    error_line()
