"""The library that makes a program's connections direct: where it is, and how a program gets it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import vnicd
from vnicd.errors import Unsupported

NAME = "libvnicd-sockets.so"
PRELOAD = "LD_PRELOAD"


def place() -> Path:
    return Path(vnicd.__file__).resolve().with_name(NAME)


def path() -> str:
    """Where the library is; Unsupported when it was not built."""
    if not place().is_file():
        raise Unsupported(f"there is no {place()}", "build it with: scripts/setup")
    return str(place())


def preload(environment: Mapping[str, str]) -> str:
    """The value of LD_PRELOAD with the library behind what is there already."""
    words = environment.get(PRELOAD, "").replace(":", " ").split()
    own = path()
    return ":".join([*(word for word in words if word != own), own])
