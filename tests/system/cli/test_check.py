"""vnicctl check names what is wrong with a pair: breakages made one after the other, on several pairs side by side."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

import pytest

from tests.framework.fabric import bpf
from tests.framework.fabric.fabric import Fabric
from tests.framework.fabric.namespaces import in_namespace
from tests.framework.fabric.partition import Partition
from tests.framework.uplink.uplink import FAR, Uplinked
from tests.framework.waiting import is_stopped, wait_until

PAIRS = 6
PORT = 5432
WITHIN = 15.0
"""Seconds that a check may take on a busy machine; on one that is idle it is 5."""


@dataclass(frozen=True)
class Trio:
    """Two partitions to check, and a bystander."""

    blue: Partition
    green: Partition
    red: Partition

    def fill(self, text: str) -> str:
        """A shell command with names of this trio put in."""
        words = {"BLUE": self.blue, "GREEN": self.green, "RED": self.red}
        for name, partition in words.items():
            text = text.replace(f"{name}_IP6", partition.ip6).replace(f"{name}_IP", partition.ip)
            text = text.replace(f"{name}_MAC", partition.mac)
        return text


@dataclass(frozen=True)
class Case:
    """A breakage: shell commands inside green and blue, those that repair it, and what the check says."""

    words: str
    green: str = ""
    green_again: str = ""
    blue: str = ""
    blue_again: str = ""
    act: Callable[[Trio], Any] | None = None
    """A context manager, for what no shell command does."""
    argv: tuple[str, ...] = ()
    reached: bool | None = False
    """None where chance decides."""


@dataclass
class Result:
    seconds: float
    code: int
    data: dict[str, Any] = field(default_factory=dict)


def nft(hook: str, rule: str, policy: str = "accept") -> str:
    chain = f"add chain inet t c {{ type filter hook {hook} priority 0; policy {policy}; }}"
    return f"nft 'add table inet t; {chain}; add rule inet t c {rule}'"


NO_TABLE = "nft delete table inet t"
GREEN6 = "ip address add GREEN_IP6/64 dev vnic0 nodad"
OWN = "ip address {} GREEN_IP/24 dev vnic0"
SUBNET = "ip route add 10.7.0.0/24 dev vnic0 src {}"


@contextmanager
def stopped(trio: Trio) -> Iterator[None]:
    pid = trio.green.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_until(lambda: is_stopped(pid), 10, "the daemon is stopped")
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextmanager
def duplicate(trio: Trio) -> Iterator[None]:
    trio.red.run(["ip", "address", "add", f"{trio.green.ip}/24", "dev", trio.red.ifname])
    try:
        yield
    finally:
        trio.red.run(["ip", "address", "del", f"{trio.green.ip}/24", "dev", trio.red.ifname])


@contextmanager
def xdp(trio: Trio) -> Iterator[None]:
    in_namespace(trio.green.netns, lambda: bpf.attach_xdp(trio.green.ifname))
    try:
        yield
    finally:
        in_namespace(trio.green.netns, lambda: bpf.detach_xdp(trio.green.ifname))


@contextmanager
def tc_filter(trio: Trio) -> Iterator[None]:
    in_namespace(trio.blue.netns, lambda: bpf.filter_egress(trio.blue.ifname))
    try:
        yield
    finally:
        trio.blue.run(["tc", "qdisc", "del", "dev", trio.blue.ifname, "clsact"])


@contextmanager
def listening(trio: Trio, address: str, clients: int = 0) -> Iterator[None]:
    """A listener in green that accepts nothing, with connections that wait for it."""
    with trio.green.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, PORT))
        listener.listen(1)
        waiting = [trio.green.socket(socket.AF_INET, socket.SOCK_STREAM) for _ in range(clients)]
        for each in waiting:
            each.setblocking(False)
            with suppress(BlockingIOError):
                each.connect((trio.green.ip, PORT))
        try:
            yield
        finally:
            for each in waiting:
                each.close()


TCP = ("--tcp", str(PORT))

CASES = {
    "a stopped daemon": Case("is stopped, so it moves no frames", act=stopped),
    "an interface down": Case(
        "the interface vnic0 of green is down", "ip link set vnic0 down", f"ip link set vnic0 up; {GREEN6}"
    ),
    "another MAC": Case(
        "vnicd takes frames of GREEN_MAC only",
        "ip link set vnic0 address 02:00:00:00:99:99", "ip link set vnic0 address GREEN_MAC",
    ),
    "a wrong neighbour entry": Case(
        "takes RED_MAC, that of red for the MAC of GREEN_IP",
        blue="ip neigh replace GREEN_IP lladdr RED_MAC dev vnic0 nud permanent",
        blue_again="ip neigh del GREEN_IP dev vnic0",
    ),
    "no answer to ARP": Case(
        "does not answer ARP requests (arp_ignore is 8)",
        "sysctl -qw net.ipv4.conf.all.arp_ignore=8", "sysctl -qw net.ipv4.conf.all.arp_ignore=0",
    ),
    "a wrong prefix length": Case(
        "GREEN_IP/32 instead of GREEN_IP/24",
        f"{OWN.format('del')}; ip address add GREEN_IP/32 dev vnic0",
        f"ip address del GREEN_IP/32 dev vnic0; {OWN.format('add')}",
    ),
    "a firewall in green": Case(
        "green drops it: chain c (table inet t, hook input): ip saddr BLUE_IP drop; its counter has grown",
        nft("input", "ip saddr BLUE_IP counter drop"), NO_TABLE,
    ),
    "a firewall in blue": Case(
        "the firewall of blue drops it: chain c (table inet t, hook output)",
        blue=nft("output", "ip daddr GREEN_IP drop"), blue_again=NO_TABLE,
    ),
    "a firewall that drops the answer": Case(
        "the firewall of blue drops it: chain c (table inet t, hook input)",
        blue=nft("input", "icmp type echo-reply drop"), blue_again=NO_TABLE,
    ),
    "a policy that drops": Case("hook input): policy drop", nft("input", "meta nfproto ipv6 accept", "drop"), NO_TABLE),
    "a duplicate address": Case(
        "red has the address GREEN_IP of green, too, on vnic0", act=duplicate, reached=None
    ),
    "an address of blue itself": Case(
        "blue has the address GREEN_IP of green itself, on lo",
        blue="ip address add GREEN_IP/32 dev lo", blue_again="ip address del GREEN_IP/32 dev lo",
    ),
    "a wrong gateway": Case(
        "the gateway 10.7.0.99, by which blue sends to 10.8.0.1, does not answer",
        "ip address add 10.8.0.1/24 dev vnic0", "ip address del 10.8.0.1/24 dev vnic0",
        "ip route add 10.8.0.0/24 via 10.7.0.99", "ip route del 10.8.0.0/24", argv=("10.8.0.1",),
    ),
    "a deleted address": Case("green has lost its address GREEN_IP/24", OWN.format("del"), OWN.format("add")),
    "a deleted address of blue": Case(
        "blue has lost its address BLUE_IP6/64",
        blue="ip address del BLUE_IP6/64 dev vnic0", blue_again="ip address add BLUE_IP6/64 dev vnic0 nodad",
    ),
    "a deleted route": Case(
        "blue has lost the route of its subnet 10.7.0.0/24",
        blue="ip route del 10.7.0.0/24", blue_again=SUBNET.format("BLUE_IP"),
    ),
    "a deleted route back": Case(
        "green has lost the route of its subnet 10.7.0.0/24", "ip route del 10.7.0.0/24", SUBNET.format("GREEN_IP")
    ),
    "another MTU": Case(
        "the MTUs differ: blue has 1500, green has 1400", "ip link set vnic0 mtu 1400", "ip link set vnic0 mtu 1500",
        reached=True,
    ),
    "a policy rule": Case(
        "is refused by a policy rule: 50: to GREEN_IP/32 blackhole",
        blue="ip rule add to GREEN_IP priority 50 blackhole", blue_again="ip rule del priority 50",
    ),
    "an unreachable route": Case(
        "green has a route unreachable BLUE_IP/32",
        "ip route add unreachable BLUE_IP", "ip route del unreachable BLUE_IP",
    ),
    "a route by another interface": Case(
        "sends to BLUE_IP leads to d0",
        "ip link add d0 type veth peer name d1; ip link set d0 up; ip link set d1 up; ip route add BLUE_IP dev d0",
        "ip link del d0",
    ),
    "no answer to echo requests": Case(
        "net.ipv4.icmp_echo_ignore_all is 1",
        "sysctl -qw net.ipv4.icmp_echo_ignore_all=1", "sysctl -qw net.ipv4.icmp_echo_ignore_all=0",
    ),
    "IPv6 switched off": Case(
        "IPv6 is switched off on vnic0 of green",
        "sysctl -qw net.ipv6.conf.vnic0.disable_ipv6=1", f"sysctl -qw net.ipv6.conf.vnic0.disable_ipv6=0; {GREEN6}",
    ),
    "the address elsewhere": Case(
        "the address GREEN_IP of green is on lo, not on vnic0",
        # with /24 all of the subnet would be green's own, and it would answer for the other pairs
        f"{OWN.format('del')}; ip address add GREEN_IP/32 dev lo",
        f"ip address del GREEN_IP/32 dev lo; {OWN.format('add')}",
    ),
    "a bridge": Case(
        "vnic0 of green is part of the bridge b0",
        "ip link add b0 type bridge; ip link set b0 up; ip link set vnic0 master b0", "ip link del b0",
    ),
    "NOARP": Case("vnic0 of green does no ARP", "ip link set vnic0 arp off", "ip link set vnic0 arp on"),
    "a queue that keeps all": Case(
        "the queueing discipline tbf of vnic0 of blue",
        blue="tc qdisc add dev vnic0 root tbf rate 8bit burst 10 limit 10", blue_again="tc qdisc del dev vnic0 root",
    ),
    "an XDP program": Case("an XDP program is attached to vnic0 of green", act=xdp),
    "a tc filter": Case("a tc filter at the egress of vnic0 of blue", act=tc_filter),
    "nobody listens": Case(f"nothing listens on TCP port {PORT} in green", argv=TCP),
    "a listener on the loopback": Case(
        "listens on 127.0.0.1 only", act=lambda trio: listening(trio, "127.0.0.1"), argv=("GREEN_IP", *TCP)
    ),
    "a full backlog": Case(
        f"the backlog of port {PORT} in green is full",
        act=lambda trio: listening(trio, trio.green.ip, clients=6), argv=("GREEN_IP", *TCP),
    ),
    "a firewall before the service": Case(
        f"tcp dport {PORT} drop",
        nft("input", f"tcp dport {PORT} drop"), NO_TABLE, act=lambda trio: listening(trio, trio.green.ip),
        argv=("GREEN_IP", *TCP),
    ),
    "only echo requests are filtered": Case(
        "",
        nft("input", "icmp type echo-request drop"), NO_TABLE, act=lambda trio: listening(trio, trio.green.ip),
        argv=("GREEN_IP", *TCP), reached=True,
    ),
}  # fmt: skip


def check(fabric: Fabric, *argv: str) -> Result:
    began = time.monotonic()
    done = fabric.cli("check", *argv, "--json", check=False)
    assert done.returncode in (0, 1) and done.stdout, done.stderr
    return Result(time.monotonic() - began, done.returncode, json.loads(done.stdout))


@pytest.fixture(scope="module")
def trios(shared: Fabric) -> list[Trio]:
    """All in one subnet. Their namespaces are somebody else's, in which vnicd puts nothing back."""

    def add(name: str, n: int, at: int) -> Partition:
        namespace = shared.namespace(f"space-{name}{n}")
        subprocess.run(["ip", "-n", namespace, "link", "set", "lo", "up"], check=True)
        addresses = f"10.7.0.{10 * n + at}/24", f"fd07::{10 * n + at}/64"
        return shared.add(f"{name}{n}", *addresses, netns=namespace)

    red = add("red", 0, 3)
    return [Trio(add("blue", n, 1), add("green", n, 2), red) for n in range(PAIRS)]


def play(shared: Fabric, trio: Trio, case: Case) -> Result:
    """Break, check and repair."""
    shell = {side: trio.fill(getattr(case, side)) for side in ("green", "green_again", "blue", "blue_again")}
    argv = [trio.fill(word) for word in case.argv]
    if not argv or argv[0].startswith("-"):
        argv.insert(0, trio.green.name)
    act = case.act(trio) if case.act else nullcontext()
    try:
        for side, partition in (("green", trio.green), ("blue", trio.blue)):
            partition.run(["ip", "neigh", "flush", "dev", partition.ifname])
            partition.run(["sh", "-ec", shell[side]])
        with act:
            return check(shared, trio.blue.name, *argv)
    finally:
        trio.green.run(["sh", "-ec", shell["green_again"]])
        trio.blue.run(["sh", "-ec", shell["blue_again"]])


@pytest.fixture(scope="module")
def results(shared: Fabric, trios: list[Trio]) -> dict[str, tuple[Trio, Result]]:
    """Of all cases; a pair is broken by one at a time."""
    free: SimpleQueue[Trio] = SimpleQueue()
    for trio in trios:
        free.put(trio)

    def one(name: str) -> tuple[Trio, Result]:
        trio = free.get()
        try:
            return trio, play(shared, trio, CASES[name])
        finally:
            free.put(trio)

    with ThreadPoolExecutor(PAIRS) as pool:
        return dict(zip(CASES, pool.map(one, CASES), strict=True))


@pytest.mark.parametrize("name", CASES)
def test_the_cause_is_named(results: dict[str, tuple[Trio, Result]], name: str) -> None:
    case, (trio, result) = CASES[name], results[name]
    named = [each["cause"] for each in result.data["findings"]]
    assert result.code == (1 if case.words else 0), result.data
    assert case.reached is None or result.data["reached"] is case.reached, result.data
    assert result.seconds < WITHIN
    plain = "; ".join(named)
    for label, partition in (("blue", trio.blue), ("green", trio.green), ("red", trio.red)):
        plain = plain.replace(partition.name, label)
    assert trio.fill(case.words) in plain
    assert all(each["remedy"] for each in result.data["findings"])


def test_all_is_well_again(shared: Fabric, trios: list[Trio], results: object) -> None:
    for trio in trios:
        for partition in (trio.blue, trio.green):
            partition.run(["ip", "neigh", "flush", "dev", partition.ifname])
        result = check(shared, trio.blue.name, trio.green.name)
        assert result.code == 0 and result.data["rtt_ms"], result.data
        assert {step["status"] for step in result.data["steps"]} == {"ok"}, result.data


def test_a_host_that_is_stopped_or_dead(shared: Fabric, trios: list[Trio], results: object) -> None:
    blue, green, red = trios[0].blue, trios[0].green, trios[0].red
    shared.wait_path(blue, green, "direct", 10)
    pid = shared.host_pid()
    os.kill(pid, signal.SIGSTOP)
    try:
        stopped_host = check(shared, blue.name, green.name)
        without_link = check(shared, blue.name, trios[1].green.name)
    finally:
        os.kill(pid, signal.SIGCONT)
    for result in (stopped_host, without_link):
        assert f"the hosting daemon, pid {pid}, is stopped" in result.data["findings"][0]["cause"]
        assert result.code == 1 and result.seconds < WITHIN
    assert not without_link.data["reached"]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: pid not in shared.pids(), 10, "the host is gone")
    try:
        dead = check(shared, blue.name, red.name)
    finally:
        shared.up()
    assert "the hosting daemon is dead" in dead.data["findings"][0]["cause"]
    assert dead.data["findings"][0]["remedy"] == "vnicctl up"


def test_without_an_uplink_the_host_and_the_outside_are_out_of_reach(
    shared: Fabric, trios: list[Trio]
) -> None:
    blue = trios[0].blue.name
    assert "no interface in the fabric" in check(shared, blue, "host").data["findings"][0]["cause"]
    assert "there is no uplink" in check(shared, blue, "192.0.2.1").data["findings"][0]["cause"]


def test_with_an_uplink(uplinked: Uplinked) -> None:
    fabric, web = uplinked.machine.fabric, uplinked.web.name
    for argv in ([web, FAR[0]], [web, uplinked.remote.ip6], ["host", web]):
        result = check(fabric, *argv)
        assert result.code == 0 and result.data["reached"], result.data
    result = check(fabric, web, "10.0.0.77", "--tcp", "99")
    assert result.code == 1 and "nobody answers for 10.0.0.77" in result.data["findings"][0]["cause"]
    if uplinked.mode != "nat":
        result = check(fabric, web, uplinked.remote.ip, "--tcp", "99")
        assert "refuses connections to port 99" in result.data["findings"][0]["cause"]
        return
    uplinked.here.run(["sh", "-ec", nft("forward", "counter", "drop")])
    try:
        result = check(fabric, web, uplinked.remote.ip)
    finally:
        uplinked.here.run(["sh", "-ec", NO_TABLE])
    assert (
        "the firewall of the machine drops it: chain c (table inet t" in result.data["findings"][0]["cause"]
    )
