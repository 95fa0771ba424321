"""vnicctl check: what is shown of a verdict, and the exit code."""

from __future__ import annotations

import json
from textwrap import dedent

import pytest

from tests.framework.control.fakehost import FakeHost
from vnicd.check import investigate
from vnicd.check.steps import Step
from vnicd.check.verdict import Finding, Verdict
from vnicd.cli.main import main

STEPS = [
    Step("daemons", "ok", "host up, blue up, green up"),
    Step("route", "ok", "blue: vnic0; green: vnic0", "IPv4"),
    Step("route", "failed", "blue: none (Network is unreachable)", "IPv6"),
    Step("sent", "-", "", "IPv6"),
]
BAD = Verdict(False, STEPS, [Finding("blue has no route", "ip route add")], ["lo of green is down"])
GOOD = Verdict(True, STEPS[:2], path="direct", rtt_ms=0.123, direct_sockets=2)


def shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], verdict: Verdict, *argv: str
) -> tuple[int, str]:
    monkeypatch.setattr(investigate, "check", lambda *_: verdict)
    code = main(["check", "blue", "green", *argv])
    return code, capsys.readouterr().out


def test_what_is_wrong(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(monkeypatch, capsys, BAD) == (
        1,
        dedent(
            """\
            ok      daemons     host up, blue up, green up
            ok      route IPv4  blue: vnic0; green: vnic0
            failed  route IPv6  blue: none (Network is unreachable)
            -       sent IPv6   -

            result  blue does not reach green
            cause   blue has no route
            remedy  ip route add
            note    lo of green is down
            """
        ),
    )


def test_all_is_well(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = shown(monkeypatch, capsys, GOOD)
    assert code == 0
    assert out.endswith(
        "result  blue reaches green, 0.12 ms there and back, by a direct link, 2 TCP connections with direct sockets\n"
    )


def test_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = shown(monkeypatch, capsys, BAD, "--json", "--tcp", "80")
    data = json.loads(out)
    assert code == 1 and (data["from"], data["to"], data["well"]) == ("blue", "green", False)
    assert data["findings"] == [{"cause": "blue has no route", "remedy": "ip route add"}]
    assert data["steps"][1] == {
        "name": "route",
        "status": "ok",
        "detail": "blue: vnic0; green: vnic0",
        "family": "IPv4",
    }


@pytest.mark.parametrize(
    ("argv", "words", "code"),
    [
        (["blue", "blue"], "blue and blue are the same", 7),
        (["blue", "nobody"], "there is no partition nobody", 5),
        (["nobody", "blue"], "there is no partition nobody", 5),
        (["blue", "fe80::1"], "not an address that can be checked", 7),
        (["blue", "green", "--tcp", "0"], "--tcp must be a whole number, 1 to 65535", 7),
        (["blue"], "missing argument", 2),
    ],
)
def test_bad_words(
    monkeypatch: pytest.MonkeyPatch,
    host: FakeHost,
    capsys: pytest.CaptureFixture[str],
    argv: list[str],
    words: str,
    code: int,
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert main(["check", *argv]) == code
    captured = capsys.readouterr()
    assert words in captured.err and not captured.out


def test_only_root_can_check(
    monkeypatch: pytest.MonkeyPatch, host: FakeHost, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert main(["check", "blue", "green"]) == 11
    assert "run it with sudo" in capsys.readouterr().err
