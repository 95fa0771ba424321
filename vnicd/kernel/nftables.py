"""nftables by way of nft: a script is loaded whole or not at all."""

from __future__ import annotations

import os
import subprocess

from vnicd.errors import Unsupported
from vnicd.packet.nft_rules import removal


def load(script: str) -> None:
    """Load a script; Unsupported with the kernel's own words when it refuses."""
    _nft("-f", "-", text=script)


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


def _families(table: str) -> list[str]:
    """The families that have a table of that name."""
    lines = [line.split() for line in _nft("list", "tables").splitlines()]
    return [words[1] for words in lines if words[0] == "table" and words[2:] == [table]]


def _nft(*argv: str, text: str = "") -> str:
    """What nft prints; it works in the calling thread's namespace, as that is what a child inherits."""
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        done = subprocess.run(
            ["nft", *argv], check=False, input=text, capture_output=True, text=True, env=environment
        )
    except FileNotFoundError as error:
        raise Unsupported("nft is not installed", "install it: apt install nftables") from error
    if done.returncode:
        raise Unsupported(f"nftables: {_complaint(done.stderr)}", "see: vnicctl doctor")
    return done.stdout


def _complaint(text: str) -> str:
    """The line of nft's complaint that says why, without the place in the script."""
    lines = (
        [line for line in text.splitlines() if "rror:" in line] or text.splitlines() or ["no reason given"]
    )
    return lines[0].partition("rror:")[2].strip() or lines[0]
