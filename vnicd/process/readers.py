"""Who may read what the hosting daemon shows and writes: root, and the members of a group."""

from __future__ import annotations

import grp
import os
from contextlib import suppress

GROUP = "vnicd"
"""Its members may read."""

MODE = 0o640
"""Of a file that root writes and our group reads."""


def group_id() -> int:
    """The group that may read; that of root where there is no such group."""
    try:
        return grp.getgrnam(GROUP).gr_gid
    except KeyError:
        return 0


def open_file(fd: int) -> None:
    """Make a file that we have made one for root and our group alone, whatever the mask of modes is."""
    with suppress(PermissionError):  # we are not root, or the group is none here: then it is ours alone
        os.fchown(fd, -1, group_id())
    os.fchmod(fd, MODE)
