"""A machine of a test: a namespace with a NIC, the remote end of its cable, and a fabric that runs inside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.framework.fabric.fabric import Fabric
from tests.framework.fabric.machine import paths_below
from tests.framework.fabric.namespaces import NETNS, in_namespace
from tests.framework.fabric.partition import Partition
from tests.framework.waiting import wait_until

NIC, NIC_MAC = "eth1", "02:00:00:00:01:02"
WIRE, WIRE_MAC = "wire", "02:00:00:00:01:01"
HERE = ("10.0.0.2/24", "2001:db8::2/64")
REMOTE = ("10.0.0.1/24", "2001:db8::1/64")
FAR = ("192.0.2.1", "2001:db8:ff::1")
"""Addresses of the remote host beyond its own subnet: it is also the router."""

MODES = ("bridge", "shared", "nat")

QUIET = [
    *(f"net.ipv6.conf.{which}.accept_dad=0" for which in ("all", "default")),
    "net.ipv6.conf.default.router_solicitations=0",
    *(f"net.ipv4.conf.{which}.rp_filter=1" for which in ("all", "default")),
]
"""Addresses are there at once and nothing speaks unasked; wrong ways back are noticed, as on many machines."""


class Machine:
    """Makes nothing by itself: `build` does. `close` takes all down and fails unless the machine is as it was built."""

    def __init__(self, runtime: Path, tag: str) -> None:
        # Not names that the fabric would take for its own partitions: they must outlive it.
        here, remote = f"{tag}-machine", f"{tag}-remote"
        self.fabric = Fabric(runtime, tag, str(NETNS / here))
        self.here = Partition(self.fabric, here, str(NETNS / here), NIC_MAC, HERE, NIC)
        self.remote = Partition(self.fabric, remote, str(NETNS / remote), WIRE_MAC, REMOTE, WIRE)
        self.built: frozenset[str] | None = None

    def build(self) -> Machine:
        for end in (self.here, self.remote):
            _ip("netns", "add", end.name)
            end.run(["sysctl", "-qw", *QUIET])
            _ip("-n", end.name, "link", "set", "lo", "up")
        for address in FAR:
            _ip("-n", self.remote.name, "addr", "add", address, "dev", "lo")
        self.plug()
        self.built = self.state()
        return self

    def plug(self) -> None:
        """Makes the NIC with its cable, addresses and routes, the same each time."""
        near = ["-n", self.here.name, "link", "add", NIC, "address", NIC_MAC, "type", "veth"]
        _ip(*near, "peer", "name", WIRE, "address", WIRE_MAC, "netns", self.remote.name)
        for end in (self.here, self.remote):
            _ip("-n", end.name, "link", "set", end.ifname, "up")
        self.configure()

    def configure(self) -> None:
        """Addresses and routes again, for an interface that has lost them."""
        for end in (self.here, self.remote):
            for address in end.addresses:
                nodad = ["nodad"] if ":" in address else []
                _ip("-n", end.name, "addr", "replace", address, "dev", end.ifname, *nodad)
        for router in (self.remote.ip, self.remote.ip6):
            _ip("-n", self.here.name, "route", "replace", "default", "via", router)

    def close(self) -> None:
        """Takes the fabric down; AssertionError when it left a trace in the machine's namespace."""
        with ExitStack() as stack:
            for end in (self.here, self.remote):
                if Path(end.netns).exists():
                    stack.callback(_ip, "netns", "del", end.name)
            if self.built is not None:
                stack.callback(self._remove_files)
            self.fabric.close()
            if self.built is not None:
                self.check_restored()

    def _files(self) -> list[Path]:
        """What vnicd keeps of this namespace outside of runtime directories; the next one may have its number."""
        return list(Path("/run").glob(f"vnicd-{Path(self.here.netns).stat().st_ino}-*"))

    def _remove_files(self) -> None:
        for path in self._files():
            path.unlink()

    def check_restored(self) -> None:
        """Fails unless the machine's namespace is as it was built."""
        assert self.built is not None
        now = self.state()
        assert now == self.built, f"gone: {sorted(self.built - now)}; new: {sorted(now - self.built)}"

    def state(self) -> frozenset[str]:
        """All that an uplink could change in the machine's namespace, as lines; once its addresses have settled."""
        wait_until(
            lambda: "tentative" not in self.here.run(["ip", "-o", "addr"]).stdout,
            10,
            "addresses have settled",
        )
        shown = [("addr", line) for line in self._lines("ip", "-o", "addr")]
        for words in (
            "ip -4 route show table all",
            "ip -6 route show table all",
            "ip -4 rule",
            "ip -6 rule",
            "ip neigh show nud permanent",
            "ip neigh show proxy",
            "ip -6 neigh show proxy",
            "tc qdisc",
            f"ethtool -k {NIC}",
            "nft list ruleset",
        ):
            shown += [(words, line) for line in self._lines(*words.split())]
        shown += [("link", line) for line in self._links()]
        shown += [("sysctl", line) for line in in_namespace(self.here.netns, _sysctls)]
        shown += [("file", str(path)) for path in self._files()]
        return frozenset(f"{what}: {line}" for what, line in shown)

    def _lines(self, *argv: str) -> list[str]:
        # Only interfaces' numbers at the beginning go: they differ once a NIC was made anew.
        text = self.here.run(list(argv)).stdout
        return [line.split(": ", 1)[-1] if argv[1] == "-o" else line for line in text.splitlines()]

    def _links(self) -> Iterator[str]:
        keys = ("ifname", "address", "mtu", "flags", "promiscuity", "allmulti", "operstate", "txqlen")
        for link in json.loads(self.here.run(["ip", "-j", "-d", "link"]).stdout):
            yield json.dumps({key: link.get(key) for key in keys})

    # ----------------------------------------------------------------------------------- the uplink

    def set(self, *words: str, nic: str = NIC) -> None:
        self.fabric.cli("uplink", "set", nic, *words)

    def clear(self) -> None:
        self.fabric.cli("uplink", "clear")

    @property
    def uplink(self) -> dict[str, Any]:
        """What the control socket tells of the uplink, which must be set."""
        shown = self.fabric.call("uplink.show")["uplink"]
        assert shown is not None
        return dict(shown)

    @property
    def port0(self) -> Partition:
        """The machine as the partitions see it: by its own interface to them."""
        name = self.uplink["ifname"]
        (link,) = json.loads(self.here.run(["ip", "-j", "addr", "show", "dev", name]).stdout)
        addresses = tuple(
            f"{each['local']}/{each['prefixlen']}" for each in link["addr_info"] if each["scope"] == "global"
        )
        return Partition(self.fabric, self.here.name, self.here.netns, link["address"], addresses, name)

    def kill_host(self) -> None:
        """Ends the hosting daemon as a crash would."""
        pid = self.fabric.host_pid()
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: pid not in self.fabric.pids(), 5, "the host is gone")


@dataclass(frozen=True)
class Uplinked:
    """A machine with a running fabric, an uplink in one mode and two partitions."""

    machine: Machine
    mode: str
    web: Partition
    db: Partition

    @classmethod
    def start(cls, machine: Machine, mode: str, *words: str, **options: object) -> Uplinked:
        """In bridge mode the partitions are there before the uplink, otherwise they come after it."""
        fabric = machine.fabric.up()
        if mode != "bridge":
            machine.set("--mode", mode, *words)
        web, db = (add(fabric, mode, label, number, **options) for label, number in (("web", 5), ("db", 6)))
        if mode == "bridge":
            machine.set(*words)  # it is the mode unless another is named
        return cls(machine, mode, web, db)

    @property
    def remote(self) -> Partition:
        return self.machine.remote

    @property
    def here(self) -> Partition:
        return self.machine.here

    @property
    def ways(self) -> list[tuple[Partition, Partition]]:
        """Who may begin to talk to whom: nobody outside can begin in nat mode."""
        inward = [(self.remote, self.web)] if self.mode != "nat" else []
        return [(self.web, self.remote), *inward, (self.web, self.here), (self.here, self.web)]


def add(fabric: Fabric, mode: str, label: str, number: int, **options: object) -> Partition:
    """A partition with IPv4 and IPv6 addresses that suit the mode, and a way out."""
    if mode == "nat":
        return fabric.add(label, **options)
    addresses = (f"10.0.0.{number}/24", f"2001:db8::{number}/64")
    gateways = tuple(address.split("/")[0] for address in REMOTE)
    return fabric.add(label, *addresses, gateway=gateways, **options)


def _ip(*argv: str) -> None:
    done = subprocess.run(["ip", *argv], capture_output=True, text=True)
    assert not done.returncode, f"ip {' '.join(argv)}: {done.stderr}"


def _sysctls() -> list[str]:
    """The settings of interfaces in the calling thread's namespace; those of one that is just going go with it."""
    base = Path("/proc/sys/net")
    paths = [*paths_below(base / "ipv4/conf"), *paths_below(base / "ipv6/conf"), base / "ipv4/ip_forward"]
    shown = []
    for path in paths:
        if path.name != "stable_secret":  # reading it is an error where none is set
            with suppress(FileNotFoundError, IsADirectoryError):
                shown.append(f"{path.relative_to(base)} = {path.read_text().strip()}")
    return shown
