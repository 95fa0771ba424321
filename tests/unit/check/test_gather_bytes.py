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


def test_any_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather.subprocess, "run", run)
    assert gather._output(["iptables-legacy-save", "-c"]).endswith("-j DROP\n")
    assert nftables.listing("inet", "filter").endswith("-j DROP\n")
