"""What the matrix knows of a program: how to serve, how to check the data, what to hold, what to reload."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

from tests.compat.case import Case

Holder = subprocess.Popen[bytes]


@dataclass(frozen=True)
class Needs:
    """What has to be installed: Debian packages with a command of each, and packages of pip and npm."""

    debian: tuple[tuple[str, str], ...] = ()
    """A package, and a command or a file that comes with it."""
    pip: tuple[str, ...] = ()
    npm: tuple[tuple[str, str], ...] = ()
    """A folder's name, and the package that goes there."""
    unavailable: str = ""
    """Why the program can't be had at all; empty if it can."""


class Program:
    """A row of the matrix. A family derives from it; a variant is an object with other settings."""

    name: str = ""
    needs: Needs = Needs()
    direct: bool = True
    """Whether connections are to be direct where both ends have the library."""
    holds: bool = True
    """Whether `hold` keeps a connection, so that each end can be killed while it is in use."""
    reloads: bool = False
    limit: float = 60
    """Seconds for each cell."""
    note: str = ""

    VERSION: ClassVar[str] = r"\d+(?:\.\d+)+\w*"

    def version(self) -> str:
        """The version that the program itself tells."""
        raise NotImplementedError

    @contextmanager
    def serve(self, case: Case) -> Iterator[None]:
        """The server, which is ready; ended when left."""
        raise NotImplementedError
        yield

    def check(self, case: Case) -> None:
        """Clients with work for the server; AssertionError unless all data are right."""
        raise NotImplementedError

    def hold(self, case: Case) -> Holder:
        """A client that has exchanged data with the server, and stays connected until the server ends."""
        raise NotImplementedError

    def reload(self, case: Case) -> None:
        """Reloads the server while clients are at work; AssertionError unless all of them got what they should."""
        raise NotImplementedError

    def said(self, *argv: str, pattern: str = "") -> str:
        """The version in what a command prints."""
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
        found = re.search(pattern or f"({self.VERSION})", done.stdout + done.stderr)
        return found.group(1) if found else "unknown"
