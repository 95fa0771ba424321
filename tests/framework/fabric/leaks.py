"""What the tests of a session must leave as they found it."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path

from tests.framework.fabric import machine
from tests.framework.fabric.namespaces import named

Inventory = dict[str, object]

ETC = Path("/etc/netns")


def inventory(base: Path, tag: str) -> Inventory:
    """What there is of fabrics below `base`, whose namespaces have `tag` in their names.

    Hugepages are told of only while nobody else's fabric or container is on the machine: they cannot be told apart.
    """
    gc.collect()  # or descriptors of objects that nobody has any more would count
    found = machine.daemons()
    ours = {pid for pid, place in found.items() if place.is_relative_to(base)}
    parts: dict[str, Callable[[], object]] = {
        "namespaces": lambda: {name for name in named() if tag in name},
        "processes": lambda: ours,
        "names helpers": lambda: {
            pid for pid, place in machine.daemons(helpers=True).items() if place.is_relative_to(base)
        },
        "files of /etc/netns": lambda: {str(path) for path in machine.paths_below(ETC) if tag in str(path)},
        "TAPs": machine.taps,
        "descriptors": lambda: len(machine.open_files()),
        "files": lambda: {str(path) for path in machine.paths_below(base)},
    }
    if len(ours) == len(found) and (ours or not machine.limit_is_claimed()):
        parts["hugepages"] = machine.hugepages_in_use
        parts["hugepage limit"] = machine.hugepage_limit
    return {name: part() for name, part in parts.items()}


def differences(before: Inventory, after: Inventory) -> list[str]:
    """A text for each thing that is known of both times and has changed."""
    common = [name for name in before if name in after]
    return [
        f"{name}: {before[name]} before, {after[name]} now" for name in common if before[name] != after[name]
    ]
