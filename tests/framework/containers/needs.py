"""What the tests of containers need of this machine, and the Debian packages that have it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from vnicd.cli.containers import places
from vnicd.errors import Unsupported

PACKAGES = {
    "podman": "podman",
    "conmon": "podman",
    "containerd": "containerd",
    "ctr": "containerd",
    "dockerd": "docker.io",
    "docker": "docker.io",
    "docker-compose": "docker-compose",
    "runc": "runc",
    "iptables": "iptables",
    "busybox": "busybox-static",
    "go": "golang-go",
    "redis-server": "redis-server",
    "curl": "curl",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
    "/usr/share/gocode/src/github.com/containernetworking/cni/libcni/api.go": "golang-github-appc-cni-dev",
}
"""A program, or the path of one or of a file, and its Debian package."""

PODMAN = ("podman", "conmon", "runc", "iptables", "busybox", "/usr/lib/cni/bridge")
CONTAINERD = ("containerd", "ctr", "runc", "iptables", "busybox", "/usr/lib/cni/bridge")
DOCKER = ("dockerd", "docker", "containerd", "runc", "iptables", "busybox")
CNITOOL = ("go", "/usr/share/gocode/src/github.com/containernetworking/cni/libcni/api.go")


def missing(*programs: str) -> str:
    """The packages of these programs that are not installed, as a reason; empty if all are there."""
    lacking = sorted({PACKAGES[program] for program in programs if not _is_there(program)})
    return f"not installed: {', '.join(lacking)}; scripts/setup-tests installs them" if lacking else ""


def need(*programs: str) -> None:
    """Skips the test when one of these is not installed."""
    if reason := missing(*programs):
        pytest.skip(reason)


def need_plugin() -> None:
    """Skips the test when vnicd's plugin was not built, for which a library is needed."""
    try:
        places.executable()
    except Unsupported as error:
        pytest.skip(f"{error.message}: install libjansson-dev, and build")


def _is_there(program: str) -> bool:
    return Path(program).exists() if program.startswith("/") else bool(shutil.which(program))
