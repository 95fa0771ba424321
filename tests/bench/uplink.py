"""Where the uplink is measured: a remote host, a wire, and a machine whose NIC is the near end of that wire.

    remote namespace            machine namespace                        a partition's, or a rival's namespace
    wire ---------------------- eth1 - vnicd host, or the kernel's bridge ------ its interface

In bridge mode the remote host is the end `a`, which connects; in nat mode it is `b`, because nobody can
connect to what is behind a NAT.
"""

from __future__ import annotations

import subprocess
import tempfile
from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Literal

from tests.bench.environments import PREFIX, Environment, Side
from tests.bench.links import BRIDGE, add_address, add_bridge, add_veth, ip, join_bridge
from tests.framework.fabric.fabric import Fabric

NIC = "eth1"
MACHINE = f"10.77.0.3/{PREFIX}"
"""The machine's own address on the wire."""

SUBNET, GATEWAY, SUBNET_PREFIX = "10.78.0.0/24", "10.78.0.1", 24
NAT_ADDRESS: dict[Side, str] = {"a": "10.78.0.2", "b": "10.77.0.1"}

Mode = Literal["bridge", "nat"]
REMOTE_SIDE: dict[Mode, Side] = {"bridge": "a", "nat": "b"}


class BehindNic(Environment):
    """The wire, the machine with its NIC, and what `make_inside` puts behind it."""

    mode: ClassVar[Mode]

    def make(self) -> None:
        self.remote, self.machine = self.add_namespace("remote"), self.add_namespace("machine")
        add_veth(self.machine, NIC, self.remote, "wire", self.mtu)
        add_address(self.remote, "wire", f"{self.address[REMOTE_SIDE[self.mode]]}/{PREFIX}")
        self.make_inside()

    @abstractmethod
    def make_inside(self) -> None:
        """Makes the other end and all that is between it and the NIC, which has no address yet."""

    @abstractmethod
    def inside(self) -> str:
        """The name of the namespace of that end."""

    @property
    def inside_address(self) -> str:
        """With its prefix length."""
        if self.mode == "nat":
            return f"{self.address['a']}/{SUBNET_PREFIX}"
        return f"{self.address['b']}/{PREFIX}"

    def namespace(self, side: Side) -> str:
        return f"/run/netns/{self.remote if side == REMOTE_SIDE[self.mode] else self.inside()}"


class KernelBridge(BehindNic):
    """The NIC and a veth to the inside are ports of one bridge, which also has the machine's address."""

    name = "kernel bridge"
    mode: ClassVar[Mode] = "bridge"

    def make_inside(self) -> None:
        add_bridge(self.machine, self.mtu)
        join_bridge(self.machine, NIC)
        add_address(self.machine, BRIDGE, MACHINE)
        self.add_inside()

    def add_inside(self) -> None:
        inside = self.add_namespace("inside")
        add_veth(self.machine, "port", inside, "eth0", self.mtu)
        join_bridge(self.machine, "port")
        add_address(inside, "eth0", self.inside_address)

    def inside(self) -> str:
        return f"inside-{self.tag}"


RULES = f"""
table ip bench {{
    chain postrouting {{
        type nat hook postrouting priority srcnat;
        ip saddr {SUBNET} oifname "{NIC}" masquerade
    }}
}}
"""


class KernelNat(KernelBridge):
    """The inside is on a bridge that has the gateway's address; the machine forwards, and nftables masquerades."""

    name = "kernel nat"
    mode = "nat"
    address = NAT_ADDRESS

    def make_inside(self) -> None:
        add_address(self.machine, NIC, MACHINE)
        add_bridge(self.machine, self.mtu)
        add_address(self.machine, BRIDGE, f"{GATEWAY}/{SUBNET_PREFIX}")
        self.add_inside()
        ip("-n", self.inside(), "route", "add", "default", "via", GATEWAY)
        here = ["ip", "netns", "exec", self.machine]
        forward = [*here, "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"]
        subprocess.run(forward, check=True, stdin=subprocess.DEVNULL)
        subprocess.run([*here, "nft", "-f", "-"], check=True, input=RULES, text=True)


class UplinkBridge(BehindNic):
    """A partition whose own MAC is on the wire."""

    name = "vnicd bridge"
    mode: ClassVar[Mode] = "bridge"
    options: ClassVar[tuple[str, ...]] = ()
    """Further ones of `vnicctl uplink set`."""

    def make_inside(self) -> None:
        add_address(self.machine, NIC, MACHINE)
        directory = self.stack.enter_context(tempfile.TemporaryDirectory(prefix="vnicd-bench-"))
        # Its tag differs from that of the namespaces here, which its check for leftovers would object to.
        self.fabric = Fabric(Path(directory) / "fabric", f"{self.tag}v", f"/run/netns/{self.machine}")
        self.stack.callback(self.fabric.close)
        self.fabric.up()
        self.fabric.cli("uplink", "set", NIC, "--mode", self.mode, *self.options)
        self.fabric.add("inside", self.inside_address, mtu=self.mtu)

    def inside(self) -> str:
        return self.fabric.name("inside")

    def facts(self) -> dict[str, Any]:
        uplink = self.fabric.call("uplink.show")["uplink"]
        return {**super().facts(), **{key: uplink.get(key) for key in ("mode", "backend", "mtu", "offloads")}}


class UplinkNat(UplinkBridge):
    """A partition behind the hosting partition's gateway."""

    name = "vnicd nat"
    mode = "nat"
    address = NAT_ADDRESS
    options = ("--subnet", SUBNET)
