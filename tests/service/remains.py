"""What an installation has written into a container, and what of it runs there."""

from __future__ import annotations

import stat
from pathlib import Path

from tests.service.service import Service

TIMERS = ("var/log", "var/lib/systemd", "var/cache", "tmp", "root")
"""Where systemd and others write at any time."""

PASSING = {"etc/netns"}
"""Folders of this machine that shine through, and that its own fabrics make and remove."""

BACKUPS = {"etc/passwd-", "etc/group-", "etc/shadow-", "etc/gshadow-"}
"""Made by the system's own tools for users."""

Written = dict[str, bytes | None]


def written(service: Service) -> Written:
    """What the container has written so far and is not as on the machine: files with content, and folders."""
    upper = service.container.written
    found: Written = {}
    for path in upper.rglob("*"):
        name = str(path.relative_to(upper))
        if name.startswith(TIMERS):
            continue
        mode, original = path.lstat().st_mode, Path("/") / name
        content = path.read_bytes() if stat.S_ISREG(mode) else None
        if not _is_same(mode, content, original):
            found[name] = content
    return found


def _is_same(mode: int, content: bytes | None, original: Path) -> bool:
    if not original.exists():
        return False
    if stat.S_ISDIR(mode):
        return original.is_dir()
    return stat.S_ISREG(mode) and original.is_file() and original.read_bytes() == content


def running(service: Service) -> dict[str, str]:
    """What of ours runs or is known to the container's kernel and systemd."""
    questions = {
        "processes": "pgrep -f -a '[/](opt|usr/lib)/vnicd' || true",
        "namespaces": "ls /run/netns",
        "interfaces": "ls /sys/class/net; ls -d /sys/class/net/*/tun_flags || true",
        "addresses": "ip -o -4 address",
        "routes": "ip route",
        "tables": "nft list tables",
        "forwarding": "cat /proc/sys/net/ipv4/ip_forward",
        "hugepages": "echo $(cat /sys/kernel/mm/hugepages/hugepages-2048kB/nr_overcommit_hugepages)",
        "files in /run": "find /run -name '*vnicd*' -not -path '/run/systemd/*'",
        "units": "systemctl list-units --all --plain --no-legend 'vnicd*'",
        "unit files": "systemctl list-unit-files --no-legend 'vnicd*' || true",
        "users": "getent passwd vnicd; getent group vnicd; true",
    }
    return {name: service.container.run(["sh", "-c", text]).stdout for name, text in questions.items()}
