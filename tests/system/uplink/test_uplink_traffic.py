"""Any traffic between partitions, a remote host and the machine itself, in each mode of the uplink."""

from __future__ import annotations

import socket
import struct
from contextlib import ExitStack

import pytest

from tests.framework.fabric.namespaces import in_namespace
from tests.framework.fabric.partition import Partition
from tests.framework.traffic.datagrams import Flow, udp
from tests.framework.traffic.forge import Ear, is_unicast, packed, say
from tests.framework.traffic.frames import BROADCAST, EXPERIMENTAL, frame
from tests.framework.traffic.streams import MEGABYTE
from tests.framework.traffic.traffic import address, carry, send_segmented
from tests.framework.uplink.uplink import FAR, MODES, Uplinked, add

GROUP, GROUP6 = "239.1.2.3", "ff02::1:77"
SIZES = [0, 1, 1472, 1473, 8000, 65507]


@pytest.mark.parametrize("version", [4, 6])
def test_ping(uplinked: Uplinked, version: int) -> None:
    for one, other in uplinked.ways:
        assert one.ping(address(other, version), count=5).lost == 0, (one, other)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("size", [1473, 8000, 65000])
def test_ping_of_any_size(uplinked: Uplinked, version: int, size: int) -> None:
    """Most go in fragments."""
    for one, other in uplinked.ways:
        assert one.ping(address(other, version), "-s", str(size), count=2).lost == 0, (one, other)


@pytest.mark.parametrize("version", [4, 6])
def test_tcp(uplinked: Uplinked, version: int) -> None:
    for one, other in uplinked.ways:
        carry(one, other, address(other, version), 4 * MEGABYTE)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("size", SIZES)
def test_udp(uplinked: Uplinked, version: int, size: int) -> None:
    payload = bytes(index * 7 % 251 for index in range(size))
    for one, other in uplinked.ways:
        with udp(other, address(other, version)) as receiver, udp(one, address(one, version)) as sender:
            sender.sendto(payload, receiver.getsockname())
            answer, source = receiver.recvfrom(1 << 17)
            assert answer == payload, (one, other)
            receiver.sendto(answer[::-1], source)
            assert sender.recv(1 << 17) == payload[::-1], (one, other)


def test_no_datagram_is_lost_doubled_or_overtaken(uplinked: Uplinked) -> None:
    for one, other in uplinked.ways:
        with Flow(one, other) as flow:
            flow.send(5000, 0.2)
            flow.check()


@pytest.mark.parametrize("version", [4, 6])
def test_udp_segmentation_offload(uplinked: Uplinked, version: int) -> None:
    for one, other in uplinked.ways:
        send_segmented(one, other, version)


def test_answers_that_refuse(uplinked: Uplinked) -> None:
    """A TCP reset, and an ICMP error that belongs to a UDP socket."""
    for one, other in uplinked.ways:
        for version, family in ((4, socket.AF_INET), (6, socket.AF_INET6)):
            with one.socket(family, socket.SOCK_STREAM) as stream, pytest.raises(ConnectionRefusedError):
                stream.settimeout(5)
                stream.connect((address(other, version), 99))
            with udp(one, address(one, version)) as sender, pytest.raises(ConnectionRefusedError):
                sender.connect((address(other, version), 99))
                sender.send(b"anybody there?")
                sender.recv(1)


def test_beyond_the_router(uplinked: Uplinked) -> None:
    """By the partitions' default routes."""
    for target in FAR:
        assert uplinked.web.ping(target, count=5).lost == 0
        carry(uplinked.web, uplinked.remote, target)


def _index(partition: Partition) -> int:
    return in_namespace(partition.netns, lambda: socket.if_nametoindex(partition.ifname))


def _join(receiver: socket.socket, partition: Partition, version: int) -> None:
    index = _index(partition)
    if version == 4:
        joined = struct.pack("=4s4si", packed(GROUP), bytes(4), index)
        receiver.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, joined)
    else:
        joined = packed(GROUP6) + struct.pack("=i", index)
        receiver.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, joined)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("uplinked", MODES[:2], indirect=True)
def test_multicast(uplinked: Uplinked, version: int) -> None:
    """From the remote host to both partitions; from a partition to the remote host and the other partition."""
    group, everything = (GROUP, "0.0.0.0") if version == 4 else (GROUP6, "::")
    for sender, *receivers in (
        (uplinked.remote, uplinked.web, uplinked.db),
        (uplinked.web, uplinked.remote, uplinked.db),
    ):
        with ExitStack() as stack:
            ears = [stack.enter_context(udp(receiver, everything, 5007)) for receiver in receivers]
            for ear, receiver in zip(ears, receivers, strict=True):
                _join(ear, receiver, version)
            out = stack.enter_context(udp(sender, address(sender, version)))
            if version == 4:
                outgoing = struct.pack("=4s4si", bytes(4), bytes(4), _index(sender))
                out.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, outgoing)
            else:
                out.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, _index(sender))
            for text in (b"to the group", b"once each"):
                out.sendto(text, (group, 5007))
                assert [ear.recv(100) for ear in ears] == [text, text]


@pytest.mark.parametrize("uplinked", MODES[:2], indirect=True)
def test_broadcast(uplinked: Uplinked) -> None:
    for one, other in ((uplinked.remote, uplinked.web), (uplinked.web, uplinked.remote)):
        with udp(other, "10.0.0.255", 5009) as receiver, udp(one, one.ip) as sender:
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sender.sendto(b"to all", ("10.0.0.255", 5009))
            assert receiver.recv(100) == b"to all"


def test_partitions_do_not_meet_on_the_wire(uplinked: Uplinked) -> None:
    """From the first frame between new ones on; nor do a partition and the machine."""
    fabric = uplinked.machine.fabric
    ear = fabric.on_close(Ear(uplinked.remote))
    one, other = (add(fabric, uplinked.mode, f"n{number}", number) for number in (8, 9))
    for target in (other.ip, other.ip6, uplinked.here.ip, uplinked.here.ip6):
        assert one.ping(target, count=5).lost == 0
    carry(one, other, other.ip)
    carry(uplinked.here, one, one.ip6)
    fabric.wait_path(one, other, "direct")

    say(uplinked.here, frame(BROADCAST, uplinked.here.mac, EXPERIMENTAL, b"the end"))
    own = [packed(address) for end in (one, other) for address in (end.ip, end.ip6)]
    heard = [seen for seen in ear.until(b"the end") if is_unicast(seen)]
    assert not [seen for seen in heard if any(address in seen.payload[:60] for address in own)]
    assert not [seen for seen in heard if {seen.to, seen.source} & {one.mac, other.mac}]
    for partition in (one, other):
        fabric.cli("partition", "remove", partition.name)


@pytest.mark.parametrize("uplinked", MODES[:2], indirect=True)
def test_what_is_counted(uplinked: Uplinked) -> None:
    """Each frame once: what we sent is not read back, and what the machine does is not ours."""
    before = uplinked.machine.uplink["counters"]
    assert uplinked.web.ping(uplinked.remote.ip, count=10).lost == 0
    assert uplinked.here.ping(uplinked.remote.ip, count=30).lost == 0
    assert uplinked.web.ping(uplinked.db.ip, count=30).lost == 0
    after = uplinked.machine.uplink["counters"]
    grown = {key: after[key] - before[key] for key in after}
    assert set(grown) == {"rx_frames", "rx_bytes", "tx_frames", "tx_bytes"}
    for way in ("rx", "tx"):
        assert 10 <= grown[f"{way}_frames"] <= 20
        assert 98 * 10 <= grown[f"{way}_bytes"] <= 110 * 20
