"""The kernel's own links and bridges that environments are made of, by iproute2 and in namespaces by name."""

from __future__ import annotations

import subprocess

BRIDGE = "br0"

HOOKS_OFF = 'for f in /proc/sys/net/bridge/bridge-nf-call-*; do [ ! -e "$f" ] || echo 0 >"$f"; done'


def ip(*words: str) -> None:
    """Runs iproute2's `ip`."""
    subprocess.run(["ip", *words], check=True, stdin=subprocess.DEVNULL)


def add_veth(namespace: str, ifname: str, other: str, peer: str, mtu: int) -> None:
    """A veth pair from one namespace to another, with both ends up."""
    end = ["peer", "name", peer, "netns", other, "mtu", str(mtu)]
    ip("-n", namespace, "link", "add", "name", ifname, "mtu", str(mtu), "type", "veth", *end)
    ip("-n", namespace, "link", "set", ifname, "up")
    ip("-n", other, "link", "set", peer, "up")


def add_bridge(namespace: str, mtu: int) -> None:
    """A bridge without ports.

    Where br_netfilter is loaded it is told to leave the bridge alone, as on a machine without it: a rival
    is measured at its best.
    """
    ip("netns", "exec", namespace, "sh", "-c", HOOKS_OFF)
    ip("-n", namespace, "link", "add", "name", BRIDGE, "type", "bridge")
    ip("-n", namespace, "link", "set", BRIDGE, "mtu", str(mtu), "up")


def join_bridge(namespace: str, ifname: str) -> None:
    ip("-n", namespace, "link", "set", ifname, "master", BRIDGE)


def add_address(namespace: str, ifname: str, address: str) -> None:
    """An address with its prefix length."""
    ip("-n", namespace, "address", "add", address, "dev", ifname)
