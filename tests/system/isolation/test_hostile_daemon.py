"""A partition daemon, or the root of a partition, does what harm it can; the others, and `vnicctl`, notice nothing."""

from __future__ import annotations

import os
import signal
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.framework import evil
from tests.framework.evil import asking as asking_program
from tests.framework.evil import flood, strangers
from tests.framework.evil.daemon import tell
from tests.framework.fabric.calm import SECONDS, Holdings, Phase, Took, late, phase, usual
from tests.framework.fabric.partition import Partition
from tests.framework.traffic.forge import IPV4, packed
from tests.framework.traffic.frames import BROADCAST, EXPERIMENTAL, frame
from tests.framework.uplink.uplink import NIC, Machine, add
from tests.framework.waiting import wait_until
from tests.system.conftest import MakeMachine
from vnicd.host.ports.allowance import MOST_UNCLOSED

ROOT = Path(__file__).parents[3]
PLAIN = bytes(10)
"""The vnet header of a frame that is to be taken as it is."""

FLOOR_S = 0.005
"""Round trips up to this are no sign of anything: others use the machine, too."""


@dataclass(frozen=True)
class World:
    """A pair that is watched, behind an uplink, and a partition that is hostile."""

    machine: Machine
    blue: Partition
    green: Partition
    evil: Partition

    def tell(self, deed: str, *words: object) -> str:
        return tell(self.machine.here.netns, self.evil.name, deed, *words)


@pytest.fixture(scope="module")
def machine(make_module_machine: MakeMachine) -> Iterator[Machine]:
    """Its daemons load the hostile part, which begins in one whose name says so; its NIC cuts no frames."""
    machine = make_module_machine()
    machine.here.run(["ethtool", "-K", NIC, "tso", "off"])
    machine.fabric.env |= {"PYTHONPATH": str(Path(evil.__file__).parent), "EVIL_TREE": str(ROOT)}
    machine.fabric.up()
    machine.set()
    yield machine
    machine.here.run(["ethtool", "-K", NIC, "tso", "on"])


@pytest.fixture(scope="module")
def pair(machine: Machine) -> tuple[Partition, Partition]:
    blue, green = (
        add(machine.fabric, "bridge", label, number) for label, number in (("blue", 5), ("green", 6))
    )
    assert blue.ping(green.ip, count=5).lost == 0
    machine.fabric.wait_path(blue, green, "direct")
    return blue, green


@pytest.fixture
def world(machine: Machine, pair: tuple[Partition, Partition]) -> Iterator[World]:
    """With a new daemon for each test, as one that is found out may have lost its connection."""
    one = add(machine.fabric, "bridge", "evil", 66)
    yield World(machine, *pair, one)
    machine.fabric.cli("partition", "remove", one.name)


@contextmanager
def flooding(sender: Partition, seconds: float, per_second: int, data: bytes) -> Iterator[None]:
    """Who is root in a partition sends a vnet header and frame again and again."""
    argv = [sys.executable, flood.__file__, sender.ifname, str(seconds), str(per_second)]
    with sender.popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin and process.stdout
        process.stdin.write(data)
        process.stdin.close()
        assert process.stdout.readline() == b"begun\n"
        yield
        assert int(process.stdout.read()) > 0


def super_frame(to: str, sender: Partition, target: str, segment: int, size: int = 60_000) -> bytes:
    """A vnet header and a TCP frame with a payload of this size that is to be cut into segments of that one."""
    payload = bytes(size)
    ip = (
        struct.pack("!BBHHHBBH", 0x45, 0, 40 + len(payload), 0, 0, 64, 6, 0)
        + packed(sender.ip)
        + packed(target)
    )
    tcp = struct.pack("!HHIIBBHHH", 9, 9, 1, 0, 5 << 4, 0x10, 1000, 0, 0)
    header = struct.pack("<BBHHHH", 1, 1, 54, segment, 34, 16)  # a checksum to be finished; TCP over IPv4
    return header + frame(to, sender.mac, IPV4, ip + tcp + payload)


Attack = Callable[[World], object]


def deed(*words: object, seconds: float = SECONDS, least: int = 1, most: int = sys.maxsize) -> Attack:
    """What a daemon that was taken over does by itself for a while, and how often it may come to it."""

    def act(world: World) -> None:
        said = world.tell(str(words[0]), seconds, *words[1:])
        assert least <= int(said) <= most, said

    return act


def broadcast(world: World) -> None:
    data = PLAIN + frame(BROADCAST, world.evil.mac, EXPERIMENTAL, bytes(1000))
    with flooding(world.evil, SECONDS, 5000, data):
        pass


def tiny_segments(world: World) -> None:
    """To the NIC, for which the kernel would have to cut them."""
    fabric = world.machine.fabric

    def dropped() -> int:
        return int(fabric.call("stats", name="host")["ports"][0]["drops"]["bad_frame"])

    before = dropped()
    for segment in (1, 2, 4, 8):
        data = super_frame(world.machine.remote.mac, world.evil, world.machine.remote.ip, segment)
        with flooding(world.evil, SECONDS / 4, 100, data):
            pass
    wait_until(lambda: dropped() > before, 5, "some were dropped")


def many_segments_at_the_end(world: World) -> None:
    """The ring is full of them when the interface goes, and with it the link."""
    evil, restarts = world.evil, world.evil.info["restarts"]
    remote = world.machine.remote
    with flooding(evil, SECONDS, 40_000, super_frame(remote.mac, evil, remote.ip, 8, 900)):
        evil.run(["ip", "link", "delete", evil.ifname])
    wait_until(lambda: evil.info["restarts"] > restarts and evil.info["state"] == "up", 20, "it is back")


def unread(world: World) -> None:
    """A flood to a partition whose daemon does not run."""
    pid = world.evil.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        data = PLAIN + frame(world.evil.mac, world.blue.mac, EXPERIMENTAL, bytes(1400))
        with flooding(world.blue, SECONDS, 10_000, data):
            pass
    finally:
        os.kill(pid, signal.SIGCONT)


def asking(*words: str) -> Attack:
    """Thousands of programs ask the broker without end."""

    def act(world: World) -> None:
        argv = [sys.executable, asking_program.__file__, "4000", str(SECONDS), *words]
        with world.evil.popen(argv, stdout=subprocess.PIPE) as process:
            assert process.stdout
            assert process.stdout.readline() == b"begun\n"
            assert int(process.stdout.read()) > 4000

    return act


ATTACKS: dict[str, Attack] = {
    "a lingering socket by the doorbell": deed("ring", "lingering"),
    "large memory by the doorbell": deed("ring", "large"),
    "lingering sockets with messages": deed("linger", "lingering"),
    "large memory with messages": deed("linger", "large"),
    "connections": deed("connect", 19_000, seconds=3 * SECONDS, least=1000),
    "connections that end": deed("reconnect"),
    "long texts": deed("shout"),
    "asking for links": deed("ask"),
    "asking the broker": asking(),
    "asking the broker without listening": asking("0"),
    "links given back": deed("churn", most=50),
    "links called broken": deed("fail", least=0, most=8),
    "broadcasts": broadcast,
    "tiny segments": tiny_segments,
    "many segments at the end": many_segments_at_the_end,
    "what is not read": unread,
}


SLOW_TO_CLOSE = {"lingering sockets with messages"}
"""Each takes 5 s to close, one after the other; how many wait for that is bounded."""

AT_THE_UPLINK = {"tiny segments", "many segments at the end"}
"""Of those the way to the other end of the NIC's cable is watched."""


def check(quiet: list[Phase], loud: list[Phase]) -> None:
    """The medians of both, so that a hiccup of the machine says nothing; and what no hiccup explains."""

    def middle(phases: list[Phase], figure: Callable[[list[Took]], float]) -> float:
        return statistics.median(figure(each.pings) for each in phases)

    for figure in (late, usual):
        assert middle(loud, figure) <= max(2 * middle(quiet, figure), FLOOR_S), figure
    assert statistics.median(late(each.answers) for each in loud) < 0.1
    for each in loud:
        for times in (each.pings, each.answers):
            assert len(times) > 5 and max(took.own for took in times) < 1


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_others_go_on(world: World, attack: str) -> None:
    fabric, blue, green = world.machine.fabric, world.blue, world.green
    for one in (blue, green):
        assert world.evil.ping(one.ip, count=3).lost == 0
        fabric.wait_path(world.evil, one, "direct")
    watched = (blue, world.machine.remote if attack in AT_THE_UPLINK else green)
    quiet, loud = [], []
    for each in range(3):
        quiet.append(phase(fabric, watched, None))
        loud.append(phase(fabric, watched, lambda: ATTACKS[attack](world)))
        if each == 0:  # what the first of its kind takes once - threads, buffers - is no growth
            before = Holdings.of(fabric, blue, green)
    check(quiet, loud)
    now = Holdings.of(fabric, blue, green)
    assert now.memory < before.memory + 8
    assert now.log < before.log + 8192
    most = before.descriptors + (MOST_UNCLOSED + 100 if attack in SLOW_TO_CLOSE else 20)
    wait_until(
        lambda: Holdings.of(fabric, blue, green).descriptors < most, 10, "what may be closed is closed"
    )
    new = add(fabric, "bridge", "new", 67)
    assert new.ping(green.ip, count=5).lost == 0
    fabric.wait_path(new, green, "direct")
    fabric.cli("partition", "remove", new.name)


def frames_per_second(world: World, slow: Partition) -> float:
    """How many frames a second reach green while blue sends as many as it can to it, and large ones to another."""

    def came() -> int:
        return int(
            world.machine.fabric.call("stats", name=world.green.name)["ports"][0]["counters"]["tap_tx_frames"]
        )

    large = super_frame(slow.mac, world.blue, slow.ip, 1400)
    small = PLAIN + frame(world.green.mac, world.blue.mac, EXPERIMENTAL, bytes(1000))
    before = came()
    with flooding(world.blue, SECONDS, 500, large), flooding(world.blue, SECONDS, 40_000, small):
        pass
    return (came() - before) / SECONDS


def test_a_slow_reader_leaves_its_sender_half_of_its_time(world: World) -> None:
    """It frees room for one record just before its sender would give up: nothing that is for others waits for that."""
    fabric, blue = world.machine.fabric, world.blue
    world.tell("sip", 0.008)
    calm = add(fabric, "bridge", "calm", 68)
    for one in (world.evil, calm):
        blue.know(one)
        frames_per_second(world, one)
        fabric.wait_path(blue, one, "direct")
    rates = [(frames_per_second(world, calm), frames_per_second(world, world.evil)) for _ in range(3)]
    without, beside = (statistics.median(each) for each in zip(*rates, strict=True))
    fabric.cli("partition", "remove", calm.name)
    assert beside > without / 2, rates


def test_a_lost_interface_is_lost_once(world: World) -> None:
    """However often it is said: one new daemon, and none of the rest is its successor's word.

    At most one line in the log: none if it was said for another attack a moment ago.
    """
    logs, evil = world.machine.fabric.runtime / "log", world.evil

    def lines() -> int:
        texts = [file.read_text() for file in logs.glob("host*.log")]
        return sum(text.count(f"the interface of partition {evil.name} is gone") for text in texts)

    before = lines()
    world.tell("lose_tap", 200)
    wait_until(lambda: evil.info["restarts"] == 1 and evil.info["state"] == "up", 20, "there is a new daemon")
    assert lines() <= before + 1


def test_a_daemon_registers_beside_strangers(world: World) -> None:
    """Processes that are nobody's daemon connect again and again, as our group may."""
    fabric = world.machine.fabric
    argv = [sys.executable, strangers.__file__, str(fabric.runtime / "partition.sock")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with fabric.popen(argv, **pipes) as one, fabric.popen(argv, **pipes) as other:
        for each in (one, other):
            assert each.stdout and each.stdout.readline() == b"begun\n"
        began = time.monotonic()
        new = add(fabric, "bridge", "new", 67)
        assert new.ping(world.green.ip, count=3).lost == 0
        assert time.monotonic() - began < 5, "a daemon that is not taken in gives up after 10 s"
    fabric.cli("partition", "remove", new.name)
