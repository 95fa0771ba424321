"""`vnicd trace NAME`: what a daemon of the fabric did, out of its ring, whether any daemon lives or not."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from vnicd.config import Paths, start_command
from vnicd.errors import NotFound, NotPermitted, NotRunning
from vnicd.host.partitions import leftovers
from vnicd.host.ports import state_file
from vnicd.native import counters, trace
from vnicd.process import trace_files

HOST = "host"

_KINDS = tuple(trace.KINDS.items())


def document(paths: Paths, name: str) -> dict[str, Any]:
    """The trace of a daemon: NotFound without one, NotRunning when there is nothing of a fabric. Blocking."""
    if os.geteuid() != 0:
        raise NotPermitted("only root can read a trace", "run it with sudo")
    place = trace_files.folder(paths.root)
    if name not in trace_files.names(place):
        raise _missing(paths, name, place)
    found = [record(raw) for raw in trace_files.read(place, name)]
    pids = _pids(paths, name)
    return {"daemon": name, "pid": pids[0] if pids else None, "records": found}


def _pids(paths: Paths, name: str) -> list[int]:
    partition = "" if name == HOST else name
    return [each.pid for each in leftovers.daemons(paths.root) if each.partition == partition]


def _missing(paths: Paths, name: str, place: Path) -> Exception:
    known = {HOST, *(saved.spec.name for saved in state_file.load(paths.state)[0])}
    if not place.exists() and not paths.state.exists() and not _pids(paths, HOST):
        return NotRunning(
            f"there is no fabric in {paths.root}", f"start one with: {start_command(paths.root)}"
        )
    if name in known and _pids(paths, name):
        remedy = "when it is started anew" if name == HOST else f"by: vnicctl partition restart {name}"
        return NotFound(
            f"the trace of {name} is not in {place}: it was deleted, or there was no memory for it",
            f"its daemon gets another one {remedy}",
        )
    if name in known:
        return NotFound(
            f"there is no trace of {name}", "its daemon was not started, or had no memory for one"
        )
    return NotFound(f"there is no partition {name}", "list them with: vnicctl partition list")


def record(raw: trace.Raw) -> dict[str, Any]:
    """A record as JSON. Its daemon may be hostile: numbers that mean nothing are shown as they are, text is plain."""
    thread, number, monotonic_ns, wall_ns, pid, kind, values, text = raw
    name, labels = _KINDS[kind - 1] if 0 < kind <= len(_KINDS) else (f"kind_{kind}", ())
    return {
        "thread": thread,
        "number": number,
        "monotonic_ns": monotonic_ns,
        "wall_ns": wall_ns,
        "pid": pid,
        "kind": name,
        "values": {label: _value(label, value) for label, value in zip(labels, values, strict=False)},
        "text": "".join(char if char.isprintable() else "?" for char in text.decode(errors="replace")),
    }


def _value(label: str, value: int) -> int | str:
    if label == "link":
        return f"{value:016x}"
    if label == "fault" and value < len(counters.FAULT_NAMES):
        return counters.FAULT_NAMES[value]
    return value
