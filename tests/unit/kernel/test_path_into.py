"""The way into a namespace that was attached: by a path that may lead elsewhere by now."""

from __future__ import annotations

import os
from pathlib import Path

from vnicd.kernel import process

OWN = "/proc/self/ns/net"


def test_a_path_that_still_leads_there() -> None:
    assert process.path_into(OWN, Path(OWN).stat().st_ino) == OWN
    assert process.path_into("/run/netns/blue", None) == "/run/netns/blue"


def test_a_path_that_leads_to_a_stranger(tmp_path: Path) -> None:
    """Somebody else in the namespace leads there: at least this process."""
    (tmp_path / "other").touch()
    inode = Path(OWN).stat().st_ino
    for path in (str(tmp_path / "other"), "/proc/4194304/ns/net"):
        found = process.path_into(path, inode)
        assert found != path
        assert os.stat(found).st_ino == inode  # noqa: PTH116
    assert process.path_into(str(tmp_path / "other"), 1) == ""
