"""nftables by way of nft: a script is loaded whole or not at all."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from vnicd.errors import TimedOut, Unsupported
from vnicd.kernel.firewall import generation
from vnicd.packet.nft_listing import (
    Blocker,
    forward_chains,
    legacy_reason,
    names_interface,
    published,
    refusal,
)
from vnicd.packet.nft_rules import removal

LEGACY_TABLES = {4: ("iptables-legacy", Path("/proc/net/ip_tables_names")),
                 6: ("ip6tables-legacy", Path("/proc/net/ip6_tables_names"))}  # fmt: skip
"""The tool of each family's own packet filter, and the kernel's list of the tables that are in use there."""

TABLE_PREFIX = "vnicd_"
"""Of each fabric's table."""

TIMEOUT_S = 10.0
"""For nft, which works for the one thread that all work in the kernel waits for."""

TRIES = 4
"""Loads in a row of a table that others change at the same time."""


def load(script: str) -> None:
    """Load a script; Unsupported with the kernel's own words when it refuses."""
    _nft("-f", "-", text=script)


def load_known(script: str, family: str, table: str, known: str) -> str:
    """Load the script that makes a table; the listing of it as the script made it, empty if that can't be told.

    Others may change the table before it is listed. So a listing counts only if nobody changed any rules from before
    the load until after the listing, or if it is the one that the same script has led to earlier, which is `known`.
    """
    for _ in range(TRIES):
        before = _generation()
        load(script)
        found = listing(family, table)
        if found and (found == known or generation.is_next(before, _generation())):
            return found
    return ""


def check() -> None:
    """Unsupported when no rules can be made here."""
    _nft("list", "tables")


def remove(table: str) -> None:
    """Remove the tables of that name; no error when there is none, or no nft that could have made one."""
    try:
        families = _families(table)
    except Unsupported:
        return
    if families:
        load(removal(table, families))


def present(table: str) -> bool:
    """Whether there is a table of that name."""
    return bool(_families(table))


def listing(family: str, table: str) -> str:
    """The table as the kernel has it, in nft's words; empty when there is none."""
    done = _run("-s", "list", "table", family, table)
    return done.stdout if done.returncode == 0 else ""


def published_elsewhere(own: str) -> set[tuple[str, str, int]]:
    """(address, protocol, port) of each port that other fabrics publish; none where there is no nft to ask."""
    try:
        tables = [
            line.split()[2] for line in _nft("list", "tables").splitlines() if line.startswith("table inet ")
        ]
    except Unsupported:
        return set()
    ours = (each for each in tables if each.startswith(TABLE_PREFIX) and each != own)
    return {
        each for table in ours for each in published(_run("list", "chain", "inet", table, "published").stdout)
    }


def blockers(own: str, vnic: str, versions: Iterable[int]) -> list[Blocker]:
    """Chains of others that drop what is forwarded for the interface `vnic`, of these IP versions.

    A table that names the interface is taken for one that lets it pass: what its rules amount to is not judged.
    """
    wanted = set(versions)
    found = []
    for chain in forward_chains(_nft("-j", "list", "chains"), own):
        if not wanted & set(chain.versions):
            continue
        reason = chain.reason or refusal(_nft("-j", "list", "chain", chain.family, chain.table, chain.chain))
        if reason and not names_interface(_nft("list", "table", chain.family, chain.table), vnic):
            found.append(Blocker(chain.family, chain.table, chain.chain, reason))
    return found + [each for version in sorted(wanted) for each in _legacy(version, vnic)]


def _legacy(version: int, vnic: str) -> list[Blocker]:
    """The same for the packet filter that was there before nftables, if it is in use and its tool is installed."""
    tool, tables = LEGACY_TABLES[version]
    try:
        in_use = "filter" in tables.read_text().split()
    except OSError:
        return []
    if not in_use or shutil.which(tool) is None:
        return []
    done = subprocess.run(
        [tool, "-S"], check=False, capture_output=True, text=True, errors="replace", timeout=TIMEOUT_S
    )
    reason = legacy_reason(done.stdout)
    if not reason or names_interface(done.stdout, vnic):
        return []
    return [Blocker("ip" if version == 4 else "ip6", "filter", "FORWARD", reason, is_legacy=True)]


def _families(table: str) -> list[str]:
    """The families that have a table of that name."""
    lines = [line.split() for line in _nft("list", "tables").splitlines()]
    return [words[1] for words in lines if words[0] == "table" and words[2:] == [table]]


def _nft(*argv: str, text: str = "") -> str:
    """What nft prints."""
    done = _run(*argv, text=text)
    if done.returncode:
        raise Unsupported(f"nftables: {_complaint(done.stderr)}", "see: vnicctl doctor")
    return done.stdout


def _generation() -> int:
    try:
        return generation.current()
    except OSError as error:
        raise Unsupported(f"nftables: {error.strerror or error}", "see: vnicctl doctor") from error


def _run(*argv: str, text: str = "") -> subprocess.CompletedProcess[str]:
    """It works in the calling thread's namespace, as that is what a child inherits."""
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        return subprocess.run(
            ["nft", *argv],
            check=False,
            input=text,
            capture_output=True,
            text=True,
            errors="replace",  # comments and names of others
            env=environment,
            timeout=TIMEOUT_S,
        )
    except subprocess.TimeoutExpired as error:
        hint = "see what keeps it: nft list ruleset"
        raise TimedOut(f"nft did not end within {TIMEOUT_S:g} s, and was killed", hint) from error
    except FileNotFoundError as error:
        raise Unsupported("nft is not installed", "install it: apt install nftables") from error


def _complaint(text: str) -> str:
    """The line of nft's complaint that says why, without the place in the script."""
    lines = (
        [line for line in text.splitlines() if "rror:" in line] or text.splitlines() or ["no reason given"]
    )
    return lines[0].partition("rror:")[2].strip() or lines[0]
