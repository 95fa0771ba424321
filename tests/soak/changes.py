"""Steps of a soak that do no harm: partitions come and go, traffic, the uplink, a declared fabric."""

from __future__ import annotations

import json
import tomllib
from typing import Any

from tests.framework.traffic.traffic import carry, undisturbed
from tests.framework.uplink.uplink import REMOTE
from tests.framework.waiting import wait_until
from tests.soak.step import (
    FEWEST,
    MOST,
    Step,
    name_of,
)
from tests.soak.world import World


def add(world: World) -> Step:
    label, addresses = world.fresh()
    rate = world.random.choice(("", "", "200mbit"))
    return Step(f"add {label} {rate}".rstrip(), lambda: world.add(label, addresses, rate))


def remove(world: World) -> Step:
    label = world.random.choice(world.labels)
    return Step(f"remove {label}", lambda: world.remove(label))


def add_beside_traffic(world: World) -> Step:
    """Others must not lose a datagram for it."""
    label, addresses = world.fresh()
    one, other = world.two()

    def act() -> None:
        with undisturbed(one, other):
            world.add(label, addresses)

    return Step(f"add {label} beside traffic {name_of(one)} - {name_of(other)}", act)


def stream(world: World) -> Step:
    one, other = world.two()
    total = world.random.randrange(1, 32) << 20
    return Step(
        f"stream {total >> 20} MiB {name_of(one)} - {name_of(other)}",
        lambda: carry(one, other, other.ip, total),
    )


def idle(world: World) -> Step:
    """Until links have been given back."""

    def all_back() -> bool:
        links = world.fabric.call("links")["links"]
        return all(link["state"] == "none" for link in links if "host" not in link["ports"])

    return Step("idle", lambda: wait_until(all_back, 20, "idle links are given back") and None)


def set_uplink(world: World) -> Step:
    mode = world.random.choice(("bridge", "shared", "nat"))

    def act() -> None:
        world.machine.set("--mode", mode)
        world.uplink = mode

    return Step(f"uplink {mode}", act)


def clear_uplink(world: World) -> Step:
    def act() -> None:
        world.machine.clear()
        world.uplink = ""

    return Step("uplink clear", act)


def apply(world: World) -> Step:
    """A file that adds one, removes one, changes the rate of one, and leaves the others alone."""
    adds = [world.fresh()] if len(world.declared) < MOST else []
    removes = world.random.sample(world.labels, int(len(world.declared) > FEWEST))
    kept = [label for label in world.labels if label not in removes]
    changed, rate = world.random.choice(kept), world.random.choice(("", "300mbit"))
    pair = [world.declared[label] for label in world.random.sample(kept, 2)]

    def act() -> None:
        data = tomllib.loads(world.fabric.cli("config", "export").stdout)
        partitions = data["partitions"]
        for label in removes:
            del partitions[world.fabric.name(label)]
        entry = partitions[world.fabric.name(changed)]
        entry.pop("rate", None)
        entry.update({"rate": rate} if rate else {})
        for label, addresses in adds:
            gateways = [address.split("/")[0] for address in REMOTE]
            partitions[world.fabric.name(label)] = {"addresses": list(addresses), "gateways": gateways}
        with undisturbed(pair[0], pair[1]):
            _apply(world, data)
        for label in removes:
            world.forget(label)
        for label, _ in adds:
            world.adopt(label)
        again = json.loads(_apply(world, data))
        assert not again["changes"], f"applied twice, and there are changes: {again}"

    words = [f"+{label}" for label, _ in adds] + [f"-{label}" for label in removes]
    return Step(f"apply {' '.join(words)} ~{changed} {rate}".rstrip(), act)


def _apply(world: World, data: dict[str, Any]) -> str:
    """JSON is close to TOML: each partition is an inline table."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in data.items() if not isinstance(value, dict)]
    for table in (
        ("uplink", data.get("uplink", {})),
        *((f"partitions.{name}", given) for name, given in data["partitions"].items()),
    ):
        if table[1]:
            lines += [f"[{table[0]}]", *(f"{key} = {json.dumps(value)}" for key, value in table[1].items())]
    world.file.write_text("\n".join(lines) + "\n")
    return world.fabric.cli("apply", str(world.file), "--json").stdout
