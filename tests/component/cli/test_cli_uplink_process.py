"""The uplink in vnicctl doctor, and what the shell completes for vnicctl uplink."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.framework.control.fakehost import FakeHost, published, uplink
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


def test_doctor_names_what_has_no_way_through_nat(fabric_dir: Path, capsys: Captured) -> None:
    fabric_dir.mkdir()
    host = FakeHost(fabric_dir / "control.sock")
    ports = [
        published("8080:web:80", "10.78.0.2:80"),
        published("192.0.2.1:53:dns:53/udp", state="no-partition"),
        published("[2001:db8::1]:443:db:443", state="no-address"),
    ]
    host.answers["publish.list"] = {"published": ports}
    nat = {"mode": "nat", "subnets": ["10.78.0.1/24"], "publish": [each["publish"] for each in ports]}
    host.answers["uplink.show"] = {"uplink": uplink(**nat, without_address={"db": ["10.78.0.3/24"]})}
    main(["doctor", "--json"])
    gift = "vnicctl partition set db --address 10.78.0.3/24 --gateway 10.78.0.1"
    found = json.loads(capsys.readouterr().out)["checks"]
    assert [tuple(each.values()) for each in found if each["name"] in ("uplink", "publish", "partition")] == [
        ("uplink", "ok", "eth1 is the uplink (nat)", None),
        ("publish", "warn", "192.0.2.1:53/udp leads nowhere: there is no partition dns",
         "vnicctl publish remove 192.0.2.1:53/udp"),
        ("publish", "warn", "[2001:db8::1]:443 leads nowhere: partition db has no address for it", gift),
        ("partition", "warn", "db has no address of 10.78.0.0/24, and so no way out", gift),
    ]  # fmt: skip
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
