"""Any protocol of the network stack works between two partitions."""

from __future__ import annotations

import select
import socket
import struct

import pytest

from tests.framework.fabric.namespaces import in_namespace
from tests.framework.fabric.partition import Partition
from tests.framework.traffic.datagrams import udp
from tests.framework.traffic.streams import connect, exchange, receive_exactly
from tests.system.conftest import Pair

GROUP, GROUP6 = "239.1.2.3", "ff02::1:77"


def test_ping(pair: Pair) -> None:
    blue, green = pair
    assert blue.ping(green.ip, count=50).lost == 0
    assert green.ping(blue.ip, count=50).lost == 0


def test_ping6(pair: Pair) -> None:
    blue, green = pair
    assert blue.ping(green.ip6, count=50).lost == 0


def test_ping_of_the_link_local_address(pair: Pair) -> None:
    blue, green = pair
    listing = green.run(["ip", "-6", "-br", "addr", "show", "dev", green.ifname, "scope", "link"]).stdout
    local = next(word.split("/")[0] for word in listing.split() if word.startswith("fe80"))
    assert blue.ping(f"{local}%{blue.ifname}").lost == 0


@pytest.mark.parametrize("size", [0, 1, 1472, 1473, 8000, 65000])
def test_ping_of_any_size(pair: Pair, size: int) -> None:
    blue, green = pair
    assert blue.ping(green.ip, "-s", str(size), count=5).lost == 0
    assert blue.ping(green.ip6, "-s", str(size), count=5).lost == 0


def test_flood_ping(pair: Pair) -> None:
    blue, green = pair
    done = blue.run(["ping", "-n", "-q", "-f", "-c", "5000", green.ip])
    assert "5000 packets transmitted, 5000 received" in done.stdout


@pytest.mark.parametrize("version", [4, 6])
def test_tcp(pair: Pair, version: int) -> None:
    blue, green = pair
    near, far = connect(blue, green, green.ip if version == 4 else green.ip6)
    exchange(near, far, 1 << 20, back=1 << 20)


def test_tcp_urgent_and_single_bytes(pair: Pair) -> None:
    blue, green = pair
    near, far = connect(blue, green, green.ip)
    near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for value in range(200):
        near.send(bytes([value]))
    assert receive_exactly(far, 200) == bytes(range(200))
    near.send(b"!", socket.MSG_OOB)
    assert select.select([], [], [far], 5)[2]
    far.setblocking(False)
    assert far.recv(1, socket.MSG_OOB) == b"!"


def test_refused_connection(pair: Pair) -> None:
    blue, green = pair
    sock = blue.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.settimeout(5)
    with pytest.raises(ConnectionRefusedError):
        sock.connect((green.ip, 9))


@pytest.mark.parametrize("size", [0, 1, 17, 18, 1471, 1472, 1473, 4000, 65507])
@pytest.mark.parametrize("version", [4, 6])
def test_udp(pair: Pair, version: int, size: int) -> None:
    """Also larger than the MTU, which goes in fragments."""
    blue, green = pair
    address = green.ip if version == 4 else green.ip6
    receiver = udp(green, address)
    sender = udp(blue, blue.ip if version == 4 else blue.ip6)
    payload = bytes(index * 7 % 251 for index in range(size))
    sender.sendto(payload, receiver.getsockname())
    answer, source = receiver.recvfrom(1 << 16)
    assert answer == payload
    assert source[:2] == sender.getsockname()[:2]


def test_udp_segmentation_offload(pair: Pair) -> None:
    """A super-datagram that the kernel or the receiver cuts arrives as the datagrams it stands for."""
    blue, green = pair
    receiver, sender = udp(green, green.ip), udp(blue, blue.ip)
    udp_segment = 103
    sender.setsockopt(socket.IPPROTO_UDP, udp_segment, 1000)
    payload = bytes(index % 251 for index in range(20_500))
    sender.sendto(payload, receiver.getsockname())
    pieces = [receiver.recv(1 << 16) for _ in range(21)]
    assert b"".join(pieces) == payload
    assert [len(piece) for piece in pieces] == [1000] * 20 + [500]


def _index(partition: Partition) -> int:
    return in_namespace(partition.netns, lambda: socket.if_nametoindex(partition.ifname))


def test_multicast(pair: Pair) -> None:
    blue, green = pair
    receiver = udp(green, "0.0.0.0", 5007)
    joined = struct.pack("=4s4si", socket.inet_aton(GROUP), socket.inet_aton("0.0.0.0"), _index(green))
    receiver.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, joined)
    sender = udp(blue, blue.ip)
    outgoing = struct.pack("=4s4si", bytes(4), bytes(4), _index(blue))
    sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, outgoing)
    sender.sendto(b"to the group", (GROUP, 5007))
    assert receiver.recv(100) == b"to the group"


def test_multicast6(pair: Pair) -> None:
    blue, green = pair
    receiver = udp(green, "::", 5008)
    joined = socket.inet_pton(socket.AF_INET6, GROUP6) + struct.pack("=i", _index(green))
    receiver.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, joined)
    sender = udp(blue, "::")
    sender.sendto(b"to the group", (GROUP6, 5008, 0, _index(blue)))
    assert receiver.recv(100) == b"to the group"


def test_broadcast(pair: Pair) -> None:
    blue, green = pair
    receiver = udp(green, "10.77.0.255", 5009)
    sender = udp(blue, blue.ip)
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    sender.sendto(b"to all", ("10.77.0.255", 5009))
    assert receiver.recv(100) == b"to all"


def test_path_mtu_is_the_interface_mtu(pair: Pair) -> None:
    """A packet that may not be cut and does not fit is refused by the sender's own kernel."""
    blue, green = pair
    done = blue.run(["ping", "-n", "-c", "1", "-W", "1", "-M", "do", "-s", "1473", green.ip], check=False)
    assert done.returncode != 0
    assert "mtu" in (done.stdout + done.stderr).lower()
