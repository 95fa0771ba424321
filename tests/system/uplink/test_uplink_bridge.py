"""Bridge mode: each partition is on the remote host's Ethernet as itself, and any protocol works as on a cable."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.framework.fabric.partition import Partition
from tests.framework.traffic.forge import ARP, Ear, packed, say
from tests.framework.traffic.frames import BROADCAST, EXPERIMENTAL, frame, octets
from tests.framework.uplink.uplink import NIC_MAC, Uplinked
from tests.framework.waiting import wait_until

pytestmark = pytest.mark.parametrize("uplinked", ["bridge"], indirect=True)

STRANGER = "02:99:99:99:99:99"
DHCP_PORT = ":0043 "


def neighbour(partition: Partition, address: str) -> str:
    """The MAC that `partition` has found for an address."""
    shown = partition.run(["ip", "-j", "neigh", "show", address]).stdout
    return str(json.loads(shown)[0].get("lladdr"))


def test_own_macs_are_on_the_wire(uplinked: Uplinked) -> None:
    web, db, remote, here = uplinked.web, uplinked.db, uplinked.remote, uplinked.here
    ends = (web, db, here)
    with Ear(remote) as ear:
        for one in ends:
            for target in (remote.ip, remote.ip6):
                assert one.ping(target, count=3).lost == 0
        say(here, frame(BROADCAST, here.mac, EXPERIMENTAL, b"the end"))
        heard = ear.until(b"the end")
    for one in ends:
        assert {neighbour(remote, one.ip), neighbour(remote, one.ip6)} == {one.mac}
        for address in (one.ip, one.ip6):
            assert {seen.source for seen in heard if packed(address) in seen.payload[:24]} == {one.mac}


def test_the_link_local_address(uplinked: Uplinked) -> None:
    web, remote = uplinked.web, uplinked.remote
    for one, other in ((web, remote), (remote, web)):
        shown = other.run(["ip", "-j", "-6", "addr", "show", "dev", other.ifname, "scope", "link"]).stdout
        found = [each for link in json.loads(shown) for each in link.get("addr_info", ()) if each]
        (local,) = [each["local"] for each in found]
        assert one.ping(f"{local}%{one.ifname}", count=5).lost == 0


@pytest.mark.parametrize("to_all", [False, True])
def test_unknown_ethertype(uplinked: Uplinked, to_all: bool) -> None:
    for one, other in ((uplinked.web, uplinked.remote), (uplinked.remote, uplinked.web)):
        to = BROADCAST if to_all else other.mac
        with Ear(other, EXPERIMENTAL) as ear:
            for size in (7, 46, 1500):
                payload = b"nobody " + bytes(size - 7)
                say(one, frame(to, one.mac, EXPERIMENTAL, payload))
                (seen,) = ear.until(b"nobody")
                assert (seen.to, seen.source, seen.payload) == (to, one.mac, payload)


def test_a_destination_that_is_nobody_here_goes_out(uplinked: Uplinked) -> None:
    before = uplinked.web.drops["no_destination"]
    with Ear(uplinked.remote) as ear:
        say(uplinked.web, frame(STRANGER, uplinked.web.mac, EXPERIMENTAL, b"to a stranger"))
        assert ear.until(b"to a stranger")[-1].to == STRANGER
    assert uplinked.web.drops["no_destination"] == before


def test_reserved_multicast_stays_here(uplinked: Uplinked) -> None:
    """As on any bridge: what is for the next hop only goes no further, either way."""
    for one, other in ((uplinked.web, uplinked.remote), (uplinked.remote, uplinked.web)):
        to = ("01:80:c2:00:00:00", BROADCAST)
        texts = (b"wrong", b"right")
        with Ear(other, EXPERIMENTAL) as ear:
            say(one, *(frame(mac, one.mac, EXPERIMENTAL, text) for mac, text in zip(to, texts, strict=True)))
            assert [seen.payload for seen in ear.until(b"right")] == [b"right"]


def test_an_address_that_nobody_registered(uplinked: Uplinked) -> None:
    """Partitions may give themselves addresses here."""
    web, remote = uplinked.web, uplinked.remote
    for address, source in (("10.0.0.77/24", "10.0.0.77"), ("2001:db8::77/64", "2001:db8::77")):
        web.run(["ip", "addr", "add", address, "dev", web.ifname, "nodad"])
        assert web.ping(remote.ip6 if ":" in source else remote.ip, "-I", source, count=3).lost == 0
        assert remote.ping(source, count=3).lost == 0
        web.run(["ip", "addr", "del", address, "dev", web.ifname])


def test_a_partition_that_goes(uplinked: Uplinked) -> None:
    """Its frames are not taken any longer."""
    fabric, remote = uplinked.machine.fabric, uplinked.remote
    gone = fabric.add("gone", "10.0.0.40/24")
    assert remote.ping(gone.ip, count=3).lost == 0
    before = fabric.call("uplink.show")["uplink"]["counters"]["rx_frames"]
    fabric.cli("partition", "remove", gone.name)
    remote.know(gone)
    assert remote.ping(gone.ip, "-W", "0.3", count=20).received == 0
    assert fabric.call("uplink.show")["uplink"]["counters"]["rx_frames"] <= before + 3
    remote.run(["ip", "neigh", "del", gone.ip, "dev", remote.ifname])


LEASE = """#!/bin/sh
case $1 in bound | renew) ip addr replace "$ip/$mask" dev "$interface" && echo "leased $ip" ;; esac
"""


def test_dhcp_client(uplinked: Uplinked, tmp_path: Path) -> None:
    """Broadcasts of a partition that has no address yet; the server is the remote host."""
    fabric, remote = uplinked.machine.fabric, uplinked.remote
    client = fabric.add("dhcp")
    words = ["--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--user=root", "--no-ping"]
    words += [f"--interface={remote.ifname}", "--bind-interfaces", "--dhcp-range=10.0.0.100,10.0.0.120,1h"]
    words += [f"--dhcp-leasefile={tmp_path / 'leases'}", f"--pid-file={tmp_path / 'pid'}"]
    server = remote.popen(["dnsmasq", *words])
    wait_until(lambda: DHCP_PORT in Path(f"/proc/{server.pid}/net/udp").read_text(), 5, "dnsmasq listens")
    script = tmp_path / "lease"
    script.write_text(LEASE)
    script.chmod(0o755)
    command = ["udhcpc", "-i", client.ifname, "-n", "-q", "-f", "-t", "5", "-T", "1", "-s", str(script)]
    done = client.run(command)
    address = done.stdout.split("leased ")[1].split()[0]
    assert address in (tmp_path / "leases").read_text()
    assert client.mac in (tmp_path / "leases").read_text()
    assert client.ping(remote.ip, count=3).lost == 0
    assert remote.ping(address, count=3).lost == 0
    server.terminate()
    server.wait()
    fabric.cli("partition", "remove", client.name)


def test_the_nic_keeps_its_own(uplinked: Uplinked) -> None:
    """The machine's own addresses are asked for and answered with the NIC's MAC, and never a partition's."""
    web, here, remote = uplinked.web, uplinked.here, uplinked.remote
    with Ear(remote, ARP) as ear:
        for _ in range(5):
            remote.run(["ip", "neigh", "flush", "dev", remote.ifname])
            assert remote.ping(here.ip, count=1).lost == 0
            assert remote.ping(web.ip, count=1).lost == 0
        assert web.ping(here.ip, count=3).lost == 0
        say(here, frame(BROADCAST, here.mac, ARP, b"the end"))
        heard = ear.until(b"the end")
    answers = [seen for seen in heard if seen.payload[7:8] == b"\2"]
    claims = {(seen.payload[8:14], seen.payload[14:18]) for seen in answers}
    assert claims == {(octets(NIC_MAC), packed(here.ip)), (octets(web.mac), packed(web.ip))}
    assert len(answers) == 10


def test_traffic_before_and_after(uplinked: Uplinked) -> None:
    """Without an uplink a frame to nobody is counted and dropped."""
    machine, web = uplinked.machine, uplinked.web
    lost = [frame(to, web.mac, EXPERIMENTAL, b"nowhere") for to in (STRANGER, machine.remote.mac)]
    with Ear(machine.remote) as ear:
        machine.clear()
        before = web.drops["no_destination"]
        say(web, *lost)
        wait_until(lambda: web.drops["no_destination"] == before + 2, 5, "2 drops are counted")
        assert web.ping(machine.remote.ip, "-W", "0.3", count=2).received == 0
        assert web.ping(uplinked.db.ip, count=5).lost == 0
        machine.set()
        assert web.ping(machine.remote.ip, count=5).lost == 0
        say(web, frame(BROADCAST, web.mac, EXPERIMENTAL, b"the end"))
        assert not [seen for seen in ear.until(b"the end") if seen.payload.startswith(b"nowhere")]
