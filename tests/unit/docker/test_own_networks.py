"""Networks that are made for Docker networks, by a vnicctl that notes how it is called."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vnicd.docker import naming, own_networks
from vnicd.errors import Exists, TimedOut

IDENT = "165ebf2f" * 8
NAME = naming.network(IDENT)

EXISTS = f"echo vnicctl: exists already >&2; exit {Exists.exit_code}"


class Vnicctl:
    def __init__(self, folder: Path) -> None:
        self.program = folder / "vnicctl"
        self.log = folder / "calls"

    def answers(self, add: str, **shown: Any) -> None:
        """What `network add` does in a shell, until `network remove` was called; then it succeeds."""
        self.program.write_text(
            f"""#!/bin/sh
case $2 in
add) grep -q remove {self.log} && {{ echo '{{}}'; exit; }}; echo add >>{self.log}; {add} ;;
show) echo '{json.dumps(shown)}' ;;
remove) echo remove >>{self.log} ;;
esac
"""
        )
        self.program.chmod(0o755)

    @property
    def calls(self) -> list[str]:
        return self.log.read_text().split()


@pytest.fixture
def vnicctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Vnicctl:
    found = Vnicctl(tmp_path)
    monkeypatch.setattr(own_networks, "VNICCTL", found.program)
    return found


def add() -> str:
    return own_networks.add(IDENT, "nat", "", ())


def test_one_that_an_earlier_try_has_made(vnicctl: Vnicctl) -> None:
    vnicctl.answers(EXISTS, labels={naming.OWNER_NETWORK: IDENT}, state="up")
    assert add() == NAME
    assert vnicctl.calls == ["add"]


def test_one_that_an_earlier_try_has_not_finished(vnicctl: Vnicctl) -> None:
    vnicctl.answers(EXISTS, labels={naming.OWNER_NETWORK: IDENT}, state="down")
    assert add() == NAME
    assert vnicctl.calls == ["add", "remove"]


def test_one_of_somebody_else(vnicctl: Vnicctl) -> None:
    vnicctl.answers(EXISTS, labels={}, state="down")
    with pytest.raises(Exists):
        add()
    assert vnicctl.calls == ["add"]


def test_one_that_takes_too_long_leaves_nothing(vnicctl: Vnicctl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_networks, "TIMEOUT_S", 0.3)
    vnicctl.answers("exec sleep 60")
    with pytest.raises(TimedOut):
        add()
    assert vnicctl.calls == ["add", "remove"]
