"""What this machine offers to vnicd, and how to mend what is missing: the facts behind `vnicctl doctor`."""

from __future__ import annotations

import errno
import json
import os
import platform
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vnicd.errors import doctor_exit_code
from vnicd.kernel import tap
from vnicd.kernel.limits import neighbours
from vnicd.kernel.limits.hugepages import OVERCOMMIT
from vnicd.kernel.netns import inside
from vnicd.native import memory, netns

KERNEL_MIN = (5, 15)

Finding = tuple[str, str, str | None]
"""(a status; what was found; how to mend it). The status is ok, warn, fail, or skip for what could not be looked at."""

AS_ROOT = "run it as root: sudo vnicctl doctor"


def check_root() -> Finding:
    if is_root():
        return "ok", "running as root", None
    return "skip", "not root: some things can't be looked at, and only root can start a fabric", AS_ROOT


def is_root() -> bool:
    return os.geteuid() == 0


def _not_looked(what: str) -> Finding:
    return "skip", f"only root can see {what}", AS_ROOT


def check_kernel() -> Finding:
    release = platform.release()
    version = tuple(int(part) for part in release.split("-")[0].split(".")[:2])
    if version >= KERNEL_MIN:
        return "ok", f"Linux {release}", None
    return "fail", f"Linux {release} is too old", "vnicd needs Linux 5.15 or later"


def check_tun() -> Finding:
    try:
        os.close(os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM) and not is_root():
            return _not_looked("whether /dev/net/tun can be opened")
        return (
            "fail",
            f"/dev/net/tun: {error.strerror}",
            "load it: modprobe tun; in a container, pass the device in",
        )
    return "ok", "/dev/net/tun can be opened", None


def check_namespaces() -> Finding:
    if not is_root():
        return _not_looked("whether network namespaces can be made")
    try:
        inside("/proc/self/ns/net", netns.unshare)
    except Exception as error:
        return (
            "fail",
            f"no network namespace can be made: {error}",
            "run it as root with CAP_SYS_ADMIN, CONFIG_NET_NS",
        )
    return "ok", "network namespaces can be made", None


def check_tap() -> Finding:
    """A TAP with offloads, made and dropped in a namespace of its own."""
    if not is_root():
        return _not_looked("whether TAPs can be made")

    def work() -> None:
        netns.unshare()
        os.close(tap.open_tap("vnic0"))

    try:
        inside("/proc/self/ns/net", work)
    except Exception as error:
        return "fail", f"no TAP can be made: {error}", "modprobe tun"
    return "ok", "TAPs with segmentation offload can be made", None


def check_hugepages() -> Finding:
    """Available now, or once the hosting daemon raises the overcommit limit."""
    if memory.huge_pages_available():
        return "ok", "2 MiB hugepages can be had", None
    if not OVERCOMMIT.exists():
        return (
            "warn",
            "the kernel has no 2 MiB hugepages; ordinary pages are used",
            "use a kernel with CONFIG_HUGETLBFS",
        )
    if int(OVERCOMMIT.read_text()) == 0 and not is_root():
        return _not_looked("whether hugepages can be had on demand")
    if int(OVERCOMMIT.read_text()) == 0 and os.access(OVERCOMMIT, os.W_OK):
        return "ok", "2 MiB hugepages on demand, once the hosting daemon raises nr_overcommit_hugepages", None
    return (
        "warn",
        "no 2 MiB hugepage is free; ordinary pages are used",
        "free memory, or: sysctl vm.nr_hugepages=64",
    )


def check_memfd() -> Finding:
    try:
        memory.create(memory.SMALL_PAGE).close()
    except OSError as error:
        return "fail", f"no sealed memfd can be made: {error}", "vnicd needs Linux 5.1 or later with memfd"
    return "ok", "sealed memfds can be made", None


def check_descriptors() -> Finding:
    """The limit of who starts a hosting daemon by `vnicctl up`."""
    if not is_root():
        return _not_looked("how many files a hosting daemon may have open")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard >= 4096:
        return "ok", f"up to {hard} open files", None
    return "warn", f"only {hard} open files", "raise the hard limit: ulimit -Hn 4096"


def check_neighbours() -> Finding:
    """Whether all pairs of many partitions may know each other."""
    low = [
        limit
        for limit in neighbours.limits()
        if limit.limit.exists() and int(limit.limit.read_text()) < limit.least
    ]
    if not low:
        return "ok", "room for the neighbours of 64 partitions that all talk", None
    if not is_root():
        return _not_looked("whether the neighbour tables can be enlarged")
    if os.access(low[0].limit, os.W_OK):
        return "ok", "room for neighbours is made while a hosting daemon runs", None
    remedy = f"set it on the machine itself: echo {low[0].least} > {low[0].limit}"
    return "warn", "the neighbour tables are small, and can't be enlarged from here", remedy


def check_ipv6() -> Finding:
    if Path("/proc/net/if_inet6").exists():
        return "ok", "IPv6 is there", None
    return "warn", "the kernel has no IPv6", "partitions can have IPv4 addresses only"


CHECKS: dict[str, Callable[[], Finding]] = {
    "root": check_root,
    "kernel": check_kernel,
    "tun": check_tun,
    "namespaces": check_namespaces,
    "tap": check_tap,
    "hugepages": check_hugepages,
    "memfd": check_memfd,
    "descriptors": check_descriptors,
    "ipv6": check_ipv6,
    "neighbours": check_neighbours,
}


def run() -> list[dict[str, Any]]:
    """All findings; a check that breaks is a failed one."""
    found = []
    for name, check in CHECKS.items():
        try:
            status, detail, remedy = check()
        except Exception as error:
            status, detail, remedy = "fail", f"the check broke: {error!r}", None
        found.append({"name": name, "status": status, "detail": detail, "remedy": remedy})
    return found


def main(as_json: bool) -> int:
    """Print the findings; the exit code of `vnicctl doctor` for them."""
    found = run()
    if as_json:
        print(json.dumps({"checks": found}))
    else:
        for item in found:
            print(f"{item['status']:5} {item['name']:12} {item['detail']}")
    return doctor_exit_code([item["status"] for item in found])
