"""What must be true whenever a soak has nothing going on: everybody reaches everybody, and nothing is left over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.framework.fabric.fabric import memory_due
from tests.framework.fabric.machine import memfds, open_files
from tests.framework.fabric.namespaces import in_namespace, named
from tests.framework.traffic.datagrams import Flow
from tests.framework.traffic.echo import unreached
from tests.framework.uplink.uplink import NIC
from tests.framework.waiting import wait_until
from tests.soak.accounts import Snapshot
from tests.soak.world import REVIVED, World
from vnicd.errors import NotRunning
from vnicd.sockets import presence_names
from vnicd.sockets.abi import packed

PARTITION_FILES, HOST_FILES = 13, 29
"""Descriptors of a daemon that has no link and no partition."""

PORT_FILES, UPLINK_FILES = 5 + 7, 40
"""Descriptors that the hosting daemon has for each partition, seven of them the broker's for its namespace (that, a
listener, an exchange, a resolver, a probe, two watches) beside the names there; and for an uplink, whose rx queues are
most of them."""

SLACK = 4
"""Descriptors more for the moment: clients, what is being set up."""


def check(world: World) -> None:
    """AssertionError that names what is wrong."""
    wait_until(lambda: all_up(world), REVIVED, "all partitions are up, with a daemon of their own")
    all_reach_all(world, REVIVED)
    nothing_left(world)
    check_accounts(world)


def all_reach_all(world: World, timeout: float) -> None:
    missing = unreached(world.ways(), timeout)
    ways = ", ".join(f"{one.name} -> {target}" for one, target in missing)
    assert not missing, f"not reached within {timeout:g} s: {ways}"


def all_up(world: World) -> bool:
    try:
        ports = world.fabric.call("partition.list")["partitions"]
    except NotRunning:  # it makes its control socket anew after that was deleted
        return False
    names = {each.name for each in world.partitions}
    return {port["name"] for port in ports} == names and all(
        port["state"] == "up" and port["pid"] in world.fabric.pids() for port in ports
    )


def check_accounts(world: World) -> None:
    """A burst between two partitions arrives whole, and every frame meanwhile is accounted for."""
    with accounted(world):
        if len(world.declared) > 1:
            with Flow(*world.two(), size=world.random.choice((64, 700, 1400))) as flow:
                for _ in range(300):
                    flow.send_one()
                flow.check()
        all_reach_all(world, 5)


@contextmanager
def accounted(world: World) -> Iterator[None]:
    """Every frame in a time when nobody came, went or died was received, or dropped for a reason."""
    before = Snapshot.at_rest(world.fabric)
    yield
    wrong: dict[str, int] = {}

    def adds_up() -> bool:
        missing = Snapshot.now(world.fabric).since(before)
        if world.uplink:
            del missing["relay"]  # the uplink's frames go the same way
        wrong.clear()
        wrong.update({account: n for account, n in missing.items() if n})
        return not wrong

    try:
        wait_until(adds_up, 3, "counters add up")
    except AssertionError:
        raise AssertionError(f"counters don't add up (missing, or below zero too many): {wrong}") from None


# ---------------------------------------------------------------------------------------------- leaks


def nothing_left(world: World) -> None:
    """All of it may be so for a moment after a change."""
    seen: list[str] = []

    def none() -> bool:
        seen[:] = left_over(world)
        return not seen

    try:
        wait_until(none, 6, "nothing is left over")
    except AssertionError:
        raise AssertionError("left over: " + "; ".join(seen)) from None


def left_over(world: World) -> Iterator[str]:
    """A text for each thing too many or too few."""
    fabric = world.fabric
    ports = fabric.call("partition.list")["partitions"]
    links = [link for link in fabric.call("links")["links"] if link["state"] != "none"]
    host, pids = fabric.host_pid(), fabric.pids()
    expected = {host, *(port["pid"] for port in ports)}
    if pids != expected:
        yield f"processes {sorted(pids - expected)} too many, {sorted(expected - pids)} missing"
        return
    yield from _zombies(host)
    yield from _descriptors(world, host, ports, links)
    memory, due = len(memfds(pids)), memory_due(len(ports), len(links))
    if memory != due:
        yield f"{memory} memory files, {due} for {len(ports)} partitions and {len(links)} links"
    yield from _namespaces(world)


def _zombies(parent: int) -> Iterator[str]:
    for task in Path(f"/proc/{parent}/task").iterdir():
        try:
            children = (task / "children").read_text().split()
        except OSError:
            continue  # a thread that has ended: its children are another's now
        for child in children:
            try:
                stat = Path(f"/proc/{child}/stat").read_text()
            except OSError:
                continue
            if stat.rsplit(")", 1)[1].split()[0] == "Z":
                yield f"zombie {child}"


def _descriptors(
    world: World, host: int, ports: list[dict[str, Any]], links: list[dict[str, Any]]
) -> Iterator[str]:
    named_near = presence_names.names({packed(text) for port in ports for text in port["addresses"]}, ())
    count = len(open_files(host))
    most = HOST_FILES + (PORT_FILES + len(named_near)) * len(ports) + SLACK
    if world.uplink:
        most += UPLINK_FILES
    if count > most:
        yield f"the hosting daemon has {count} descriptors, {most} are enough"
    for port in ports:
        count = len(open_files(port["pid"]))
        most = PARTITION_FILES + sum(port["name"] in link["ports"] for link in links) + SLACK
        if count > most:
            yield f"the daemon of {port['name']} has {count} descriptors, {most} are enough"


def _namespaces(world: World) -> Iterator[str]:
    tag = world.fabric.tag
    there = {name for name in named() if name.endswith(f"-{tag}")}
    due = {each.name for each in world.partitions}
    if there != due:
        yield f"namespaces {sorted(there - due)} too many, {sorted(due - there)} missing"
        return
    for each in world.partitions:
        yield from _interfaces(each.name, each.netns, {"lo", each.ifname})
    ours = {world.machine.uplink["ifname"]} if world.uplink else set()
    yield from _interfaces("the machine", world.machine.here.netns, {"lo", NIC} | ours)


def _interfaces(where: str, netns: str, due: set[str]) -> Iterator[str]:
    there = in_namespace(netns, _interface_names)
    if there != due:
        yield f"interfaces in {where}: {sorted(there)}, not {sorted(due)}"


def _interface_names() -> set[str]:
    lines = Path("/proc/thread-self/net/dev").read_text().splitlines()[2:]
    return {line.split(":")[0].strip() for line in lines}
