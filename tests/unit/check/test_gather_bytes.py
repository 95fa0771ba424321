"""What the root of a namespace has put into its firewall rules is read, whatever bytes it is."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from vnicd.check import gather
from vnicd.kernel.firewall import nftables

RULES = b'-A INPUT -m comment --comment "\xff\xfe" -j DROP\n'


def run(argv: list[str], *, text: bool, errors: str | None = None, **more: Any) -> SimpleNamespace:
    """As subprocess.run, of a tool that prints RULES."""
    assert text
    return SimpleNamespace(returncode=0, stdout=RULES.decode(errors=errors or "strict"), stderr="")


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("vnic0", "vnic0"),
        ("eth0.5@if2", "eth0.5@if2"),
        ("$(reboot)", "'$(reboot)'"),
        ("\x1b[2J", r"'\x1b[2J'"),
        (b"a\xff", r"'a\xff'"),
        (None, ""),
    ],
)
def test_any_name_of_an_interface(name: str | bytes | None, word: str) -> None:
    assert gather.word(name) == word


def test_any_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather.subprocess, "run", run)
    assert gather._output(["iptables-legacy-save", "-c"]).endswith("-j DROP\n")
    assert nftables.listing("inet", "filter").endswith("-j DROP\n")
