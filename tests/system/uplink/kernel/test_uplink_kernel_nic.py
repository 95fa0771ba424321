"""What is known of a NIC, by whom it is used, and news of it; against a veth that stands for it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.framework.descriptors import open_fds
from tests.framework.fabric.namespaces import NETNS
from tests.framework.uplink.wire import NIC, NIC_MAC, REMOTE, Wire, ip
from tests.framework.waiting import wait_for_output, wait_until
from tests.system.conftest import TAG
from vnicd.errors import Busy
from vnicd.kernel import link_events, nic


@pytest.fixture
def wire() -> Iterator[Wire]:
    with closing(Wire(TAG)) as wire:
        yield wire


def facts(wire: Wire, name: str = NIC) -> nic.Facts:
    found = wire.inside(lambda: nic.look(name))
    assert found
    return found


def test_facts(wire: Wire) -> None:
    wire.address()
    found = facts(wire)
    assert (found.name, found.mac, found.mtu) == (NIC, NIC_MAC, 1500)
    assert found.index == wire.show("link", "show", NIC)[0]["ifindex"]
    assert (found.up, found.carrier, found.ethernet, found.default_route) == (True, True, True, False)
    assert found.speed_mbit == 10000, "what a veth says"
    assert found.addresses == ("10.0.0.2/24", "fd00::2/64")
    on = ("tx-checksum", "tso4", "tso6", "uso", "rx-checksum")
    assert found.offloads == {**dict.fromkeys(on, True), "gro": False}


def test_facts_follow(wire: Wire) -> None:
    before = facts(wire)
    ip("-n", wire.here, "link", "set", NIC, "mtu", "9000")
    assert facts(wire) == replace(before, mtu=9000)
    ip("-n", wire.remote, "link", "set", REMOTE, "down")
    cut = wait_until(lambda: not facts(wire).carrier and facts(wire), 5, "no carrier")
    assert (cut.up, cut.carrier) == (True, False)
    ip("-n", wire.here, "link", "set", NIC, "down")
    assert not facts(wire).up
    ip("-n", wire.here, "link", "del", NIC)
    assert wire.inside(lambda: nic.look(NIC)) is None


def test_offloads_follow_ethtool(wire: Wire) -> None:
    names = {"tx-checksum": "tx", "tso4": "tx-tcp-segmentation", "tso6": "tx-tcp6-segmentation"}
    names |= {"uso": "tx-udp-segmentation", "rx-checksum": "rx", "gro": "gro"}
    wire.run("ethtool", "-K", NIC, "gro", "on")
    all_on = facts(wire).offloads
    assert all(all_on.values())
    for name, switch in reversed(names.items()):
        wire.run("ethtool", "-K", NIC, switch, "off")
        assert not facts(wire).offloads[name]
    assert not any(facts(wire).offloads.values())


@pytest.mark.parametrize("words", [["default", "via", "10.0.0.1"], ["-6", "default", "via", "fd00::1"]])
def test_a_default_route_is_found(wire: Wire, words: list[str]) -> None:
    wire.address()
    options, words = (words[:1], words[1:]) if words[0] == "-6" else ([], words)
    assert not facts(wire).default_route
    ip("-n", wire.here, *options, "route", "add", *words)
    assert facts(wire).default_route
    assert not facts(wire, "lo").default_route


def test_the_loopback_interface_is_not_ethernet(wire: Wire) -> None:
    assert not facts(wire, "lo").ethernet


def test_looking_leaves_nothing_open(wire: Wire) -> None:
    facts(wire)
    before = open_fds()
    for _ in range(5):
        facts(wire)
        wire.inside(lambda: nic.look("nope"))
    assert open_fds() == before


def lock(wire: Wire, index: int) -> Path:
    return Path(f"/run/vnicd-{wire.inside(nic.namespace)}-nic-{index}.lock")


def test_a_nic_is_claimed_by_one(wire: Wire) -> None:
    index = facts(wire).index
    lock(wire, index).write_text("123456789\n")  # left by one that was killed
    with pytest.raises(Busy, match=rf"process {os.getpid()}\)"):
        claimed_twice(wire, index)
    assert not lock(wire, index).exists()
    fd = wire.inside(lambda: nic.claim(index, "eth1"))
    other = wire.inside(lambda: nic.claim(index + 1, "other"))
    for each in (fd, other):
        nic.release(each)
    assert not lock(wire, index).exists()


def claimed_twice(wire: Wire, index: int) -> None:
    fd = wire.inside(lambda: nic.claim(index, "eth1"))
    try:
        with pytest.raises(Busy, match="eth1 is the uplink of another fabric"):
            wire.inside(lambda: nic.check_unclaimed(index, "eth1"))
        wire.inside(lambda: nic.check_unclaimed(index + 1, "other"))
        wire.inside(lambda: nic.claim(index, "eth1"))
    finally:
        nic.release(fd)
        wire.inside(lambda: nic.check_unclaimed(index, "eth1"))


def test_a_claim_ends_with_its_process(wire: Wire) -> None:
    index = facts(wire).index
    code = f"from vnicd.kernel import nic; nic.claim({index}, 'eth1'); print('claimed', flush=True); input()"
    argv = ["nsenter", f"--net={NETNS / wire.here}", sys.executable, "-c", code]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as owner:
        assert owner.stdout
        wait_for_output(owner.stdout, b"claimed", 10)
        with pytest.raises(Busy, match=f"process {owner.pid}"):
            wire.inside(lambda: nic.claim(index, "eth1"))
        owner.send_signal(signal.SIGKILL)
    nic.release(wire.inside(lambda: nic.claim(index, "eth1")))


def test_changes_are_news(wire: Wire) -> None:
    sock = wire.inside(link_events.open_watch)
    with closing(sock):
        link_events.drain(sock)
        assert not link_events.drain(sock)
        changes = [
            ("link", "set", NIC, "mtu", "1400"),
            ("addr", "add", "10.0.0.2/24", "dev", NIC),
            ("addr", "add", "fd00::2/64", "dev", NIC, "nodad"),
            ("link", "del", NIC),
        ]
        for change in changes:
            ip("-n", wire.here, *change)
            assert wait_until(lambda: link_events.drain(sock), 5, f"news of {change}")


def test_too_much_news_is_news(wire: Wire) -> None:
    sock = wire.inside(link_events.open_watch)
    with closing(sock):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        for mtu in range(1300, 1320):
            ip("-n", wire.here, "link", "set", NIC, "mtu", str(mtu))
        assert link_events.drain(sock)
        assert not link_events.drain(sock)
