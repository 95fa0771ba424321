"""Partitions find each other by name, whatever becomes of the helper, the hosting daemon and their files."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from tests.framework.fabric.fabric import Fabric
from tests.framework.fabric.leaks import ETC
from tests.framework.fabric.namespaces import socket_in
from tests.framework.fabric.partition import Partition
from tests.framework.traffic import dns
from tests.framework.traffic.dns import AAAA, A
from tests.framework.waiting import wait_until
from tests.system.conftest import MakeFabric, Pair

SERVER = ("127.0.0.77", 53)
SOON = 20.0
"""Seconds in which a busy machine replaces a helper."""


def getent(partition: Partition, *words: str) -> list[str]:
    """The first words of what the C library finds, as programs of `ip netns exec` do."""
    argv = ["ip", "netns", "exec", partition.name, "getent", *words]
    found = subprocess.run(argv, capture_output=True, text=True, timeout=60).stdout
    return [line.split()[0] for line in found.splitlines()]


def connected(partition: Partition, kind: int = socket.SOCK_DGRAM) -> socket.socket:
    sock = partition.fabric.on_close(socket_in(partition.netns, socket.AF_INET, kind))
    sock.settimeout(5)
    sock.connect(SERVER)
    return sock


def ask(partition: Partition, name: str, kind: int = A) -> dns.Reply | None:
    """The reply; None while nobody answers."""
    with suppress(OSError), connected(partition) as sock:
        return dns.ask_udp(sock, dns.question(name, kind))
    return None


def finds(partition: Partition, other: Partition) -> bool:
    got = ask(partition, other.name)
    return got is not None and got.found == (other.ip,)


def test_a_fabric_without_an_uplink(pair: Pair, shared: Fabric) -> None:
    blue, green = pair
    assert getent(blue, "ahostsv4", green.name)[0] == green.ip
    assert getent(blue, "ahostsv6", green.name)[0] == green.ip6
    assert getent(blue, "hosts", f"{green.name.upper()}.vnicd.internal") == [green.ip6]
    assert getent(blue, "hosts", "nobody") == []
    found = subprocess.run(
        ["ip", "netns", "exec", blue.name, "getent", "hosts", green.ip], capture_output=True, text=True
    )
    assert found.stdout.split() == [green.ip, f"{green.name}.vnicd.internal"]
    done = shared.cli("exec", blue.name, "--", "ping", "-c1", "-4", green.name)
    assert f"({green.ip})" in done.stdout
    with connected(blue, socket.SOCK_STREAM) as stream:
        for _ in range(3):
            assert dns.ask_tcp(stream, dns.question(green.name, AAAA)).found == (green.ip6,)
    outside = ask(blue, "www.example.com")
    assert outside is not None
    assert outside.code == dns.REFUSED, "an isolated fabric has no way out"
    assert shared.json("status")["fabric"]["names"]["forwarding"] is False


def test_partitions_come_and_go(shared: Fabric, pair: Pair) -> None:
    blue, _ = pair
    red = shared.add("red", "10.77.0.3/24")
    assert finds(blue, red)
    assert finds(red, blue)
    assert (ETC / red.name / "resolv.conf").exists()
    shared.cli("partition", "remove", red.name)
    gone = ask(blue, red.name)
    assert gone is not None
    assert gone.code == dns.NXDOMAIN
    assert not (ETC / red.name).exists()


def test_a_file_of_the_users_goes_first(shared: Fabric) -> None:
    name = shared.name("own")
    path = ETC / name / "resolv.conf"
    path.parent.mkdir(parents=True)
    try:
        path.write_text("nameserver 10.77.0.9\n")
        own = shared.add("own", "10.77.0.4/24")
        assert "10.77.0.9" in shared.cli("exec", own.name, "--", "cat", "/etc/resolv.conf").stdout
        (said,) = [check for check in shared.call("fabric.check")["checks"] if check["name"] == "names"]
        assert (said["status"], str(path) in said["detail"]) == ("ok", True)
        with own.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.bind(("0.0.0.0", 53))
        shared.cli("partition", "remove", own.name)
        assert path.read_text() == "nameserver 10.77.0.9\n"
    finally:
        path.unlink()
        path.parent.rmdir()


def test_an_attached_namespace(shared: Fabric, pair: Pair) -> None:
    """Nothing is written for it; it may have its loopback later, and is left alone by us when it goes."""
    blue, _ = pair
    with subprocess.Popen(["unshare", "--net", "sleep", "600"]) as process:
        own = Path(f"/proc/{process.pid}/ns/net")
        wait_until(lambda: own.stat().st_ino != Path("/proc/self/ns/net").stat().st_ino, 10, "a namespace")
        box = shared.add("box", "10.77.0.5/24", netns=own)
        named = [check for check in shared.doctor() if f"lo of {box.name} is down" in check["detail"]]
        assert named[0]["status"] == "warn"
        shared.cli(*named[0]["remedy"].split()[1:])
        assert not [check for check in shared.doctor() if box.name in check["detail"]]
        assert finds(box, blue)
        assert finds(blue, box)
        assert shared.cli("exec", box.name, "--", "getent", "ahostsv4", blue.name).stdout.startswith(blue.ip)
        assert not (ETC / box.name).exists()
        process.kill()
    listed = lambda: [port["name"] for port in shared.call("partition.list")["partitions"]]  # noqa: E731
    wait_until(lambda: box.name not in listed(), SOON, "the partition has ended with its namespace")
    wait_until(lambda: getattr(ask(blue, box.name), "code", None) == dns.NXDOMAIN, SOON, "its name as well")


def test_the_place_is_taken(shared: Fabric) -> None:
    """Who was first stays, and doctor says so; when he has gone, names are answered."""
    name = shared.namespace("taken")
    subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
    with socket_in(f"/run/netns/{name}", socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("0.0.0.0", 53))
        taken = shared.add("taken", "10.77.0.6/24", netns=name)
        (said,) = [check for check in shared.call("fabric.check")["checks"] if check["name"] == "names"]
        assert said["status"] == "warn"
        assert taken.name in said["detail"]
        assert "in use" in said["detail"]
    wait_until(lambda: finds(taken, taken), SOON, "names are answered")
    shared.cli("partition", "remove", taken.name)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_helper_that_dies_or_stops(shared: Fabric, pair: Pair, number: int) -> None:
    blue, green = pair
    wait_until(lambda: finds(blue, green), SOON, "names are answered")
    (old,) = shared.helpers()
    os.kill(old, number)
    wait_until(lambda: old not in shared.helpers(), SOON, "the old helper has gone")
    wait_until(lambda: finds(blue, green) and finds(green, blue), SOON, "names are answered again")
    assert len(shared.helpers()) == 1


def test_a_partition_that_floods(shared: Fabric, pair: Pair) -> None:
    """With questions, garbage and connections; the others are served, and the helper does not grow."""
    blue, green = pair
    wait_until(lambda: finds(blue, green), SOON, "names are answered")
    (helper,) = shared.helpers()
    before = memory(helper)
    program = """
import os, socket
socks = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) for _ in range(8)]
words = [bytes.fromhex("0007010000010000000000000377777707") + b"example\\x03com\\0\\0\\1\\0\\1", b"", b"x" * 1400]
words += [os.urandom(40) for _ in range(20)]
for each in socks:
    each.connect(("127.0.0.77", 53))
streams = []
print("on", flush=True)
while True:
    for word in words:
        for each in socks:
            try:
                each.send(word)
            except OSError:
                pass
    if len(streams) < 500:
        streams.append(socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK))
        streams[-1].connect_ex(("127.0.0.77", 53))
"""
    flood = blue.popen(["nice", "python3", "-c", program], stdout=subprocess.PIPE)
    assert flood.stdout is not None
    assert flood.stdout.readline() == b"on\n"
    with connected(green) as sock:
        for number in range(200):
            assert dns.ask_udp(sock, dns.question(blue.name, ident=number)).found == (blue.ip,)
    flood.kill()
    flood.wait()
    assert shared.helpers() == {helper}
    assert memory(helper) < before + (8 << 20)
    wait_until(lambda: finds(blue, green), SOON, "the flooder is answered again")


def memory(pid: int) -> int:
    """Bytes of its own that a process has."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon:"))


def test_the_hosting_daemon_dies(make_fabric: MakeFabric) -> None:
    """Its helper goes with it, the next one finds the files, and `down` leaves none."""
    fabric = make_fabric().up()
    blue, green = fabric.add("blue", "10.77.0.1/24"), fabric.add("green", "10.77.0.2/24")
    assert finds(blue, green)
    (helper,) = fabric.helpers()
    os.kill(helper, signal.SIGSTOP)
    host = fabric.host_pid()
    os.kill(host, signal.SIGKILL)
    wait_until(lambda: not fabric.helpers() and host not in fabric.pids(), SOON, "both are gone")
    stale = ETC / fabric.name("stale") / "resolv.conf"
    stale.parent.mkdir()
    text = (ETC / blue.name / "resolv.conf").read_text()
    stale.write_text(text.replace(blue.name, fabric.name("stale")))
    (ETC / green.name / "resolv.conf").unlink()
    fabric.up()
    assert not stale.parent.exists()
    wait_until(lambda: finds(blue, green), SOON, "names are answered again")
    assert getent(green, "hosts", blue.name) == [blue.ip]
    fabric.down()
    assert fabric.left_behind() == []


def test_names_can_be_switched_off(make_fabric: MakeFabric) -> None:
    fabric = make_fabric().up("--names", "off")
    blue = fabric.add("blue", "10.77.0.1/24")
    assert not fabric.helpers()
    assert not (ETC / blue.name).exists()
    with blue.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(SERVER)
    assert "off" in fabric.cli("status").stdout
