"""A partition daemon needs no privilege once it runs: what it works on, it was handed as descriptors."""

from __future__ import annotations

import os
import pwd
import resource

from vnicd import hardening

USER = "vnicd"
NOBODY = 65534
"""Stands in where there is no such user."""


def identity() -> tuple[int, int]:
    """User and group that partition daemons run as."""
    try:
        entry = pwd.getpwnam(USER)
    except KeyError:
        return NOBODY, NOBODY
    return entry.pw_uid, entry.pw_gid


def drop() -> None:
    """Become unprivileged for good; under systemd we are so from the start.

    Where the limit for it is endless, as under systemd, memory stays in memory. A smaller limit would not only
    be too small for all: it would make later mappings fail.
    """
    if os.geteuid() == 0:
        user, group = identity()
        os.setgroups([])
        os.setresgid(group, group, group)
        os.setresuid(user, user, user)
    hardening.no_new_privileges()
    if resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] == resource.RLIM_INFINITY:
        hardening.lock_memory()
