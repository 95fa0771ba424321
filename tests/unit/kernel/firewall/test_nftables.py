"""What is taken for the table that a script has made, though others change rules meanwhile; and an nft that hangs."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from vnicd.errors import TimedOut
from vnicd.kernel.firewall import generation, nftables


class Ruleset:
    """Of one table. `others` acts between a load and the listing after it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, others: Callable[[Ruleset], None]) -> None:
        self.table, self.generation, self.loads = "", 7, 0
        self.others = others
        monkeypatch.setattr(nftables, "load", self.load)
        monkeypatch.setattr(nftables, "listing", self.listing)
        monkeypatch.setattr(generation, "current", lambda: self.generation)

    def change(self, table: str) -> None:
        self.table = table
        self.generation += 1

    def load(self, script: str) -> None:
        self.loads += 1
        self.change(script)

    def listing(self, _family: str, _table: str) -> str:
        self.others(self)
        return self.table


def quiet(_rules: Ruleset) -> None:
    pass


def flush(rules: Ruleset) -> None:
    rules.change("")


def add_rule(rules: Ruleset) -> None:
    rules.change(rules.table + " and more")


def flush_once(rules: Ruleset) -> None:
    if rules.loads == 1:
        flush(rules)


def change_another_table(rules: Ruleset) -> None:
    rules.generation += 1


@pytest.mark.parametrize(
    ("others", "known", "found", "loads"),
    [
        (quiet, "", "rules", 1),
        (flush, "", "", nftables.TRIES),
        (flush, "rules", "", nftables.TRIES),
        (add_rule, "", "", nftables.TRIES),
        (add_rule, "rules", "", nftables.TRIES),
        (flush_once, "", "rules", 2),
        (change_another_table, "", "", nftables.TRIES),
        (change_another_table, "rules", "rules", 1),
    ],
)
def test_only_what_the_script_made_counts(
    monkeypatch: pytest.MonkeyPatch, others: Callable[[Ruleset], None], known: str, found: str, loads: int
) -> None:
    rules = Ruleset(monkeypatch, others)
    assert nftables.load_known("rules", "inet", "vnicd_1", known) == found
    assert rules.loads == loads


def test_generations_leave_out_zero() -> None:
    assert generation.is_next(1, 2)
    assert generation.is_next(0xFFFFFFFF, 1)
    assert not any(generation.is_next(5, after) for after in (4, 5, 7))


def test_the_kernels_answer() -> None:
    attribute = struct.pack("=HHI", 8, 2, 99) + struct.pack("=HH", 8, 1) + struct.pack(">I", 1234)
    header = struct.pack("=IHHII", 20 + len(attribute), (10 << 8) | 15, 0, 1, 0)
    assert generation.parse(header + bytes(4) + attribute) == 1234
    refusal = struct.pack("=IHHIIi", 36, 2, 0, 1, 0, -1) + bytes(16)
    with pytest.raises(PermissionError):
        generation.parse(refusal)


def test_an_nft_that_hangs_is_killed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "nft"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(nftables, "TIMEOUT_S", 0.2)
    began = time.monotonic()
    with pytest.raises(TimedOut, match="nft did not end"):
        nftables.remove("vnicd_1")
    assert time.monotonic() - began < 30
