"""A partition daemon needs no privilege once it runs: what it works on, it was handed as descriptors.

Each has a user of its own, so that a hostile one can neither signal nor trace another, nor use up what the kernel
counts by user: descriptors in flight, processes, locked memory. It is a number that no passwd file has. Under systemd
it is a dynamic user of the unit's, which no process of ours chooses.
"""

from __future__ import annotations

import os
import pwd
import resource
import zlib
from contextlib import suppress
from pathlib import Path

from vnicd.native import hardening

USER = "vnicd"
NOBODY = 65534
"""Stands in where there is no such user."""


FIRST_USER = 0x7000_0000
"""Far above what systems give to people, services and containers: systemd's own users of containers end below it."""

FILE_MOST = 2 << 20
"""Bytes of the largest file that a partition daemon makes or writes: its side of a link, on a huge page. With this
limit one that was taken over can't fill /run by the files that it was handed, its log and its trace."""

VARIABLE = "VNICD_USER"
"""By this a hosting daemon tells a partition daemon that it starts which user to become."""


def user_of(root: Path, port: int) -> int:
    """The user of the daemon at a port of the fabric with this runtime directory."""
    fabric = zlib.crc32(os.fsencode(root)) & 0xFFFF
    return FIRST_USER | fabric << 8 | port


OWN_USERS = range(FIRST_USER, FIRST_USER + (1 << 24))
DYNAMIC_USERS = range(61184, 65520)
"""Those that systemd gives to units with DynamicUser."""


def may_be_partition(user: int) -> bool:
    """Whether a process of this user can be a partition daemon; another user's can only be called so."""
    if user == NOBODY:  # only where there are not enough users for each to have one
        return Path("/proc/self/uid_map").read_text().split() != ["0", "0", str(2**32 - 1)]
    return user in (os.geteuid(), identity()[0]) or user in DYNAMIC_USERS or user in OWN_USERS


def identity() -> tuple[int, int]:
    """User and group that partition daemons run as."""
    try:
        entry = pwd.getpwnam(USER)
    except KeyError:
        return NOBODY, NOBODY
    return entry.pw_uid, entry.pw_gid


def drop(group: int | None = None) -> None:
    """Become unprivileged for good; under systemd we are so from the start. The group is that of partition daemons,
    which may read what the hosting daemon tells, unless another one is given.

    Where the limit for it is endless, as under systemd, memory stays in memory. A smaller limit would not only
    be too small for all: it would make later mappings fail.
    """
    if os.geteuid() == 0:
        user, usual = identity()
        group = usual if group is None else group
        os.setgroups([])
        os.setresgid(group, group, group)
        with suppress(KeyError, ValueError, OSError):  # in a user namespace few users can be had
            own = int(os.environ[VARIABLE])
            os.setresuid(own, own, own)
    if os.geteuid() == 0:
        os.setresuid(user, user, user)
    hardening.no_new_privileges()
    if not 0 <= resource.getrlimit(resource.RLIMIT_FSIZE)[1] <= FILE_MOST:
        resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_MOST, FILE_MOST))
    if resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] == resource.RLIM_INFINITY:
        hardening.lock_memory()
