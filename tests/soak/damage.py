"""Steps of a soak that do harm: daemons die or stop, interfaces, namespaces and files are deleted."""

from __future__ import annotations

import shutil
import signal
import subprocess

from tests.framework.waiting import wait_until
from tests.soak.invariants import accounted
from tests.soak.step import (
    Plan,
    Step,
    daemon_of,
    name_of,
    names,
    pause,
    stopped,
    traffic,
    two_pairs,
)
from tests.soak.world import REVIVED, World


def hit(number: int) -> Plan:
    """Kills partition daemons in the middle of traffic."""

    def plan(world: World) -> Step:
        victims, pairs = world.some(), two_pairs(world)
        delay = world.random.uniform(0, 0.3)

        def act() -> None:
            with traffic(world, pairs):
                pause(delay)
                for pid in [victim.pid for victim in victims]:
                    world.kill(pid, number)

        return Step(f"{signal.Signals(number).name} {names(victims)}", act)

    return plan


def hit_again_and_again(world: World) -> Step:
    (victim,) = world.some(1)
    times = world.random.randint(2, 4)

    def act() -> None:
        for _ in range(times):
            world.kill(daemon_of(world, victim))

    return Step(f"SIGKILL {name_of(victim)} {times} times in a row", act)


def stop_for_a_while(world: World) -> Step:
    victims, pairs = world.some(2), two_pairs(world)
    seconds = world.random.uniform(0.05, 4)

    def act() -> None:
        with (
            accounted(world),
            traffic(world, pairs),
            stopped(world, [victim.pid for victim in victims]),
        ):
            pause(seconds)

    return Step(f"stop {names(victims)} for {seconds:.1f} s", act)


def stop_host(world: World) -> Step:
    pairs, seconds = two_pairs(world), world.random.uniform(0.05, 4)

    def act() -> None:
        with accounted(world), traffic(world, pairs), stopped(world, [world.fabric.host_pid()]):
            pause(seconds)

    return Step(f"stop the host for {seconds:.1f} s", act)


def hit_host(number: int) -> Plan:
    """Ends the hosting daemon; meanwhile a partition daemon may die too."""

    def plan(world: World) -> Step:
        alone, pairs = world.random.uniform(0, 1), two_pairs(world)
        victims = world.some(2) if world.random.random() < 0.4 else []

        def act() -> None:
            with traffic(world, pairs):
                pids = [victim.pid for victim in victims]
                world.kill(world.fabric.host_pid(), number)
                pause(alone)
                for pid in pids:
                    world.kill(pid)
                world.up()

        also = f" and SIGKILL {names(victims)}" if victims else ""
        return Step(f"{signal.Signals(number).name} the host{also}", act)

    return plan


def hit_everything(world: World) -> Step:
    def act() -> None:
        for pid in world.fabric.pids():
            world.kill(pid)
        world.up()

    return Step("SIGKILL everything", act)


def hit_host_during_add(world: World) -> Step:
    """What was half made is gone, or the partition is there whole; either way it can be removed."""
    label, addresses = world.fresh()
    delay = world.random.uniform(0, 0.3)

    def act() -> None:
        name = world.fabric.name(label)
        words = [word for address in addresses for word in ("--address", address)]
        adding = world.fabric.popen_cli(
            "partition", "add", name, *words, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        pause(delay)
        world.kill(world.fabric.host_pid())
        adding.communicate(timeout=30)
        world.up()
        _remove_if_there(world, label)

    return Step(f"SIGKILL the host during the addition of {label}, after {delay * 1000:.0f} ms", act)


def hit_host_during_remove(world: World) -> Step:
    label = world.random.choice(world.labels)
    delay = world.random.uniform(0, 0.3)

    def act() -> None:
        name = world.fabric.name(label)
        removing = world.fabric.popen_cli(
            "partition", "remove", name, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        pause(delay)
        world.kill(world.fabric.host_pid())
        removing.communicate(timeout=30)
        world.up()
        _remove_if_there(world, label)
        world.forget(label)

    return Step(f"SIGKILL the host during the removal of {label}, after {delay * 1000:.0f} ms", act)


def hit_while_links_are_made(world: World) -> Step:
    """Links are given back by a stop of their peer, and asked for at once by many."""
    (victim,) = world.some(1)
    delay = world.random.uniform(0, 0.05)

    def act() -> None:
        old = victim.pid
        world.kill(old)
        wait_until(lambda: victim.info["pid"] not in (None, old), REVIVED, f"{victim.name} has a new daemon")
        wait_until(lambda: victim.info["state"] == "up", REVIVED, f"{victim.name} is back")
        others = [each for each in world.partitions if each.name != victim.name]
        pings = [each.start_ping(victim.ip, 3) for each in others]
        pause(delay)
        world.kill(daemon_of(world, victim))
        for ping in pings:
            ping.result()

    return Step(f"SIGKILL {name_of(victim)} while its links are made", act)


def delete_interface(world: World) -> Step:
    (victim,) = world.some(1)

    def act() -> None:
        old = victim.info["generation"]
        victim.run(["ip", "link", "del", victim.ifname])
        wait_until(lambda: victim.info["generation"] > old, REVIVED, f"{victim.name} has a new daemon")

    return Step(f"delete the interface of {name_of(victim)}", act)


def delete_namespace(world: World) -> Step:
    (victim,) = world.some(1)

    def act() -> None:
        old = victim.info["generation"]
        subprocess.run(["ip", "netns", "del", victim.name], check=True)
        wait_until(lambda: victim.info["generation"] > old, REVIVED, f"{victim.name} has a new daemon")

    return Step(f"delete the namespace of {name_of(victim)}", act)


def down_and_up(world: World) -> Step:
    (victim,) = world.some(1)
    seconds = world.random.uniform(0, 1)

    def act() -> None:
        link = ["ip", "link", "set", victim.ifname]
        victim.run([*link, "down"])
        pause(seconds)
        victim.run([*link, "up"])
        # IPv6 addresses and all routes by it go with a link that is down: that is the kernel's, not ours.
        for address in victim.addresses:
            if ":" in address:
                victim.run(["ip", "addr", "replace", address, "dev", victim.ifname, "nodad"])

    return Step(f"interface of {name_of(victim)} down and up", act)


def delete_files(world: World) -> Step:
    what = world.random.choice(("all", "control.sock", "partition.sock", "host.lock"))
    files = ("control.sock", "partition.sock", "host.lock", "state.json")

    def act() -> None:
        runtime = world.fabric.runtime
        shutil.rmtree(runtime) if what == "all" else (runtime / what).unlink()
        wait_until(
            lambda: all((runtime / name).exists() for name in files), REVIVED, "the files are there again"
        )

    return Step(f"delete {what} of the runtime directory", act)


def _remove_if_there(world: World, label: str) -> None:
    name = world.fabric.name(label)
    if any(port["name"] == name for port in world.fabric.call("partition.list")["partitions"]):
        world.fabric.cli("partition", "remove", name)
