"""NAT mode: the hosting partition is the partitions' gateway, and only the machine's addresses are on the wire."""

from __future__ import annotations

import json
import re
from socket import SOCK_STREAM

import pytest

from tests.framework.fabric.fabric import Fabric
from tests.framework.fabric.partition import Partition
from tests.framework.traffic.datagrams import udp
from tests.framework.traffic.forge import REQUEST, Ear, arp, packed, say
from tests.framework.traffic.frames import BROADCAST, EXPERIMENTAL, frame
from tests.framework.traffic.streams import MEGABYTE, exchange, family_of, listen
from tests.framework.uplink.uplink import FAR, Machine, Uplinked
from tests.framework.waiting import wait_until
from tests.system.conftest import MakeMachine


@pytest.fixture(scope="module")
def nat(make_module_machine: MakeMachine) -> Uplinked:
    """With ports published of `web`."""
    machine = make_module_machine()
    web = machine.fabric.name("web")
    published = (
        f"8080:{web}:80",
        f"5300:{web}:53/udp",
        f"10.0.0.2:8443:{web}:443",
        f"[2001:db8::2]:8444:{web}:444",
    )
    up = Uplinked.start(machine, "nat")
    machine.set("--mode", "nat", *(word for each in published for word in ("--publish", each)))
    return up


def meet(client: Partition, address: str, port: int, server: Partition, inside: int) -> tuple[str, str]:
    """Addresses of the client, as it and the server see it, for a TCP connection that carried data both ways."""
    with listen(server, "::" if ":" in address else "0.0.0.0", inside) as listener:
        near = client.socket(family_of(address), SOCK_STREAM)
        near.settimeout(5)
        near.connect((address, port))
        far, peer = listener.accept()
    for end in (near, far):
        end.settimeout(20)
    exchange(near, far, MEGABYTE, back=MEGABYTE)
    return near.getsockname()[0], peer[0]


def is_refused(client: Partition, address: str, port: int) -> bool:
    with client.socket(family_of(address), SOCK_STREAM) as sock:
        sock.settimeout(0.3)
        try:
            sock.connect((address, port))
        except (ConnectionRefusedError, TimeoutError) as error:
            return isinstance(error, ConnectionRefusedError)
    return False


def test_addresses_and_gateways_are_given(nat: Uplinked) -> None:
    assert nat.web.addresses == ("10.78.0.2/24", "fd78::2/64")
    assert nat.db.addresses == ("10.78.0.3/24", "fd78::3/64")
    assert set(nat.machine.port0.addresses) == {"10.78.0.1/24", "fd78::1/64"}
    for version, gateway in (("-4", "10.78.0.1"), ("-6", "fd78::1")):
        (route,) = json.loads(nat.web.run(["ip", "-j", version, "route", "show", "default"]).stdout)
        assert (route["gateway"], route["dev"]) == (gateway, nat.web.ifname)


def test_an_address_that_is_free_again(nat: Uplinked) -> None:
    fabric = nat.machine.fabric
    third = fabric.add("third")
    assert third.ip == "10.78.0.4"
    chosen = fabric.add("chosen", "10.78.0.5/24")
    assert chosen.addresses == ("10.78.0.5/24",)
    assert chosen.ping(nat.remote.ip, count=3).lost == 0
    fifth = fabric.add("fifth")
    assert fifth.addresses == ("10.78.0.6/24", "fd78::5/64")
    fabric.cli("partition", "remove", third.name)
    assert fabric.add("third").addresses == third.addresses
    for one in (third, chosen, fifth):
        fabric.cli("partition", "remove", one.name)


def test_outside_only_the_machine_is_seen(nat: Uplinked) -> None:
    ear = nat.machine.fabric.on_close(Ear(nat.remote))
    for target, own in (
        (nat.remote.ip, nat.here.ip),
        (nat.remote.ip6, nat.here.ip6),
        *zip(FAR, ("10.0.0.2", "2001:db8::2"), strict=True),
    ):
        assert nat.web.ping(target, count=3).lost == 0
        assert meet(nat.web, target, 99, nat.remote, 99)[1] == own
    say(nat.here, frame(BROADCAST, nat.here.mac, EXPERIMENTAL, b"end"))
    heard = ear.until(b"end")
    assert {seen.source for seen in heard} == {nat.here.mac}
    for address in (nat.web.ip, nat.web.ip6, nat.machine.port0.ip, nat.machine.port0.ip6):
        assert not [seen for seen in heard if packed(address) in seen.payload[:60]]


def test_nobody_outside_gets_in_unasked(nat: Uplinked) -> None:
    """Also when it knows the way to the subnet."""
    remote, here = nat.remote, nat.here
    ear = nat.machine.fabric.on_close(Ear(nat.web))
    for subnet, router, target in (
        ("10.78.0.0/24", here.ip, nat.web.ip),
        ("fd78::/64", here.ip6, nat.web.ip6),
    ):
        remote.run(["ip", "route", "add", subnet, "via", router])
        assert remote.ping(target, "-W", "0.3", "-p", "badbad", count=3).received == 0
        remote.run(["ip", "route", "del", subnet])
    say(nat.db, arp(REQUEST, nat.db.mac, nat.db.ip, nat.db.ip, b"end", to=BROADCAST))
    assert not [seen for seen in ear.until(b"end") if b"\xba\xdb\xad" in seen.payload]


@pytest.mark.parametrize(
    ("address", "port", "inside"),
    [
        ("10.0.0.2", 8080, 80),
        ("2001:db8::2", 8080, 80),
        ("10.0.0.2", 8443, 443),
        ("2001:db8::2", 8444, 444),
    ],
)
def test_published_ports(nat: Uplinked, address: str, port: int, inside: int) -> None:
    """From outside, with the client's address; from the machine; from another partition, and from the same."""
    own, seen = meet(nat.remote, address, port, nat.web, inside)
    assert (own, seen) == ((nat.remote.ip6 if ":" in address else nat.remote.ip), own)
    for client in (nat.here, nat.db, nat.web):
        meet(client, address, port, nat.web, inside)


@pytest.mark.parametrize("address", ["10.0.0.2", "2001:db8::2"])
def test_a_published_udp_port(nat: Uplinked, address: str) -> None:
    everything = "::" if ":" in address else "0.0.0.0"
    with udp(nat.web, everything, 53) as server:
        for client in (nat.remote, nat.here, nat.db):
            with udp(client, everything) as asker:
                asker.connect((address, 5300))
                asker.send(b"question")
                text, source = server.recvfrom(100)
                server.sendto(b"answer to " + text, source)
                assert asker.recv(100) == b"answer to question"


def test_an_address_that_is_not_published(nat: Uplinked) -> None:
    """A port of one address is refused at another, and the partition's own port is not open outside."""
    with listen(nat.web, "0.0.0.0", 443), listen(nat.web, "0.0.0.0", 80) as web:
        for address, port in (("2001:db8::2", 8443), ("10.0.0.2", 8444), ("10.0.0.2", 443), ("10.0.0.2", 80)):
            assert is_refused(nat.remote, address, port)
        web.settimeout(0)
        with pytest.raises(BlockingIOError):
            web.accept()


def test_published_ports_follow_their_partition(nat: Uplinked) -> None:
    """It goes, and comes back with another address."""
    fabric = nat.machine.fabric
    words = [word for each in nat.machine.uplink["publish"] for word in ("--publish", each)]
    late = fabric.add("late", "10.78.0.59/24")
    nat.machine.set("--mode", "nat", *words, "--publish", f"9000:{late.name}:90")
    fabric.cli("partition", "remove", late.name)
    for address in ("10.78.0.60/24", "10.78.0.61/24"):
        wait_until(lambda: is_refused(nat.remote, nat.here.ip, 9000), 5, "the port is closed")
        late = fabric.add("late", address)
        meet(nat.remote, nat.here.ip, 9000, late, 90)
        fabric.cli("partition", "remove", late.name)
    nat.machine.set("--mode", "nat", *words)


def test_the_rules_are_in_a_table_of_its_own(nat: Uplinked) -> None:
    tables = nat.here.run(["nft", "list", "tables"]).stdout.split("\n")
    assert [line for line in tables if line] == [
        line for line in tables if re.match(r"table \S+ vnicd", line)
    ]
    assert any(tables)


def test_ones_own_firewall_stays(nat: Uplinked) -> None:
    """A table of somebody else's is neither changed by a new setting nor by the end."""
    nat.here.run(["nft", "add table inet mine; add chain inet mine c { type filter hook input priority 0; }"])
    before = nat.here.run(["nft", "list", "table", "inet", "mine"]).stdout
    words = [word for each in nat.machine.uplink["publish"] for word in ("--publish", each)]
    nat.machine.clear()
    assert nat.here.run(["nft", "list", "ruleset"]).stdout == before
    nat.machine.set("--mode", "nat", *words)
    assert nat.here.run(["nft", "list", "table", "inet", "mine"]).stdout == before
    nat.here.run(["nft", "delete", "table", "inet", "mine"])
    assert nat.web.ping(nat.remote.ip, count=3).lost == 0


def test_a_subnet_that_is_chosen_and_used_up(machine: Machine) -> None:
    fabric: Fabric = machine.fabric.up()
    machine.set("--mode", "nat", "--subnet", "172.20.9.0/30")
    assert machine.uplink["subnets"] == ["172.20.9.1/30"]
    only = fabric.add("only")
    assert only.addresses == ("172.20.9.2/30",)
    assert only.ping(machine.remote.ip, count=3).lost == 0
    done = fabric.cli("partition", "add", fabric.name("more"), check=False)
    assert (done.returncode, done.stdout) == (7, "")
    assert "172.20.9.0/30" in done.stderr
    assert fabric.name("more") not in done.stdout + json.dumps(fabric.call("partition.list"))


def test_a_machine_that_forwarded_before(machine: Machine) -> None:
    """It goes on with that afterwards."""
    machine.here.run(["sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"])
    machine.configure()
    before = machine.state()
    fabric = machine.fabric.up()
    machine.set("--mode", "nat")
    assert fabric.add("web").ping(machine.remote.ip6, count=3).lost == 0
    machine.clear()
    assert machine.state() == before
    machine.here.run(["sysctl", "-qw", "net.ipv4.ip_forward=0", "net.ipv6.conf.all.forwarding=0"])
    machine.configure()
    wait_until(lambda: machine.state() == machine.built, 5, "as built")
