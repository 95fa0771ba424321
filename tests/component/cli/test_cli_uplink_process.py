"""The uplink in vnicctl doctor, and what the shell completes for vnicctl uplink."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.framework.control.fakehost import FakeHost, uplink
from vnicd.cli.main import main

VNICCTL = [sys.executable, "-m", "vnicd.cli.main"]

Captured = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("facts", "status", "remedy"),
    [
        ({}, "ok", ""),
        ({"default_route": True}, "warn", "vnicctl uplink clear"),
        ({"state": "no-carrier"}, "fail", "cable of eth1"),
        ({"state": "down", "reason": "eth1 is down"}, "fail", "ip link set eth1 up"),
        ({"state": "absent"}, "fail", "vnicctl uplink clear"),
        ({"state": "failed", "reason": "nft is missing for eth1"}, "fail", "host.log"),
    ],
)
def test_doctor_looks_at_it(
    fabric_dir: Path, capsys: Captured, facts: dict[str, Any], status: str, remedy: str
) -> None:
    fabric_dir.mkdir()
    host = FakeHost(fabric_dir / "control.sock")
    host.answers["uplink.show"] = {"uplink": uplink(**facts)}
    main(["doctor", "--json"])
    check = json.loads(capsys.readouterr().out)["checks"][-1]
    assert (check["name"], check["status"], bool(check["remedy"])) == ("uplink", status, bool(remedy))
    assert "eth1" in check["detail"]
    assert remedy in (check["remedy"] or "")
    host.answers["uplink.show"] = {"uplink": None}
    main(["doctor", "--json"])
    assert json.loads(capsys.readouterr().out)["checks"][-1]["name"] != "uplink"
    host.close()


def complete(words: str, last: str = "", prefix: tuple[str, ...] = ()) -> list[str]:
    """What fish offers for the word that begins with `last`; bash would cut it at a colon."""
    line = {"COMP_WORDS": f"vnicctl {words} {last}", "COMP_CWORD": last, "_VNICCTL_COMPLETE": "fish_complete"}
    command = [*prefix, *VNICCTL]
    done = subprocess.run(command, env={**os.environ, **line}, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return [text.partition(",")[2] for text in done.stdout.split()]


def test_completion_of_modes() -> None:
    assert complete("uplink set eth1 --mode") == ["bridge", "shared", "nat"]
    assert complete("uplink set eth1 --mode", "s") == ["shared"]


def test_completion_of_partitions_to_publish(host: FakeHost) -> None:
    assert complete("uplink set eth1 --publish", "8080:") == ["8080:blue:", "8080:green:", "8080:red:"]
    assert complete("uplink set eth1 --publish", "192.0.2.1:8080:gr") == ["192.0.2.1:8080:green:"]
    assert complete("uplink set eth1 --publish", "80") == []
    assert complete("uplink set eth1 --publish", "8080:blue:") == []


@pytest.mark.root
def test_completion_of_nics_is_of_the_namespace_that_one_is_in() -> None:
    script = 'ip link add cable0 type veth peer name vnicd0 && exec "$@"'
    inside = ("unshare", "--net", "sh", "-c", script, "sh")
    names = complete("uplink set", prefix=inside)
    assert "cable0" in names
    assert not {"lo", "vnicd0"} & set(names)
    assert complete("uplink set", "cab", prefix=inside) == ["cable0"]
