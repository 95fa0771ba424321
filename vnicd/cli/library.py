"""The library that makes a program's connections direct: where it is, and how a program gets it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import vnicd
from vnicd.errors import Unsupported

NAME = "libvnicd-sockets.so"
MUSL_NAME = "libvnicd-sockets-musl.so"
PRELOAD = "LD_PRELOAD"

LITERAL = "$LIB"
"""In LD_PRELOAD, glibc puts its own folder for libraries in place of this. Musl takes it as it stands."""

INSTALLED = Path(sys.prefix, "preload")
"""Where scripts/install lays the library out."""


def place() -> Path:
    return Path(vnicd.__file__).resolve().with_name(NAME)


def path() -> str:
    """Where the library is; Unsupported when it was not built."""
    if not place().is_file():
        raise Unsupported(f"there is no {place()}", "build it with: scripts/setup")
    return str(place())


def lay_out(folder: Path) -> None:
    """Fill `folder` so that LD_PRELOAD=folder/$LIB/libvnicd-sockets.so suits every program.

    The loader of glibc looks in lib/x86_64-linux-gnu (Debian), lib64 (Fedora, SUSE) or lib (others); musl's looks in
    a folder whose name is $LIB. All links stay within `folder`, so it can be mounted or copied elsewhere as a whole.
    """
    libraries = folder / "lib"
    libraries.mkdir(parents=True)
    shutil.copy(path(), libraries)
    (libraries / f"{os.uname().machine}-linux-gnu").symlink_to(".")
    (folder / "lib64").symlink_to("lib")
    musl = place().with_name(MUSL_NAME)
    if musl.is_file():
        (folder / LITERAL).mkdir()
        shutil.copy(musl, folder / LITERAL / NAME)


def preload(environment: Mapping[str, str]) -> str:
    """The value of LD_PRELOAD with the library behind what is there already."""
    words = environment.get(PRELOAD, "").replace(":", " ").split()
    own = path()
    if (INSTALLED / "lib" / NAME).is_file():
        own = str(INSTALLED / LITERAL / NAME)
    return ":".join([*(word for word in words if Path(word).name != NAME), own])
