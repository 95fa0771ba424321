"""The steps of a soak: which there are, how often, and which comes next."""

from __future__ import annotations

import signal

from tests.soak import changes, damage
from tests.soak.step import FEWEST, MOST, Plan, Step
from tests.soak.world import World

CAN_ADD, CAN_REMOVE, WITH_UPLINK, ALWAYS = "add", "remove", "uplink", "always"

PLANS: list[tuple[int, str, Plan]] = [
    (4, CAN_ADD, changes.add),
    (2, CAN_ADD, changes.add_beside_traffic),
    (3, CAN_REMOVE, changes.remove),
    (3, ALWAYS, changes.stream),
    (1, ALWAYS, changes.idle),
    (4, ALWAYS, changes.apply),
    (3, ALWAYS, changes.set_uplink),
    (2, WITH_UPLINK, changes.clear_uplink),
    (5, ALWAYS, damage.hit(signal.SIGKILL)),
    (1, ALWAYS, damage.hit(signal.SIGTERM)),
    (2, ALWAYS, damage.hit_again_and_again),
    (3, ALWAYS, damage.stop_for_a_while),
    (2, ALWAYS, damage.stop_host),
    (4, ALWAYS, damage.hit_host(signal.SIGKILL)),
    (1, ALWAYS, damage.hit_host(signal.SIGTERM)),
    (1, ALWAYS, damage.hit_everything),
    (2, CAN_ADD, damage.hit_host_during_add),
    (2, CAN_REMOVE, damage.hit_host_during_remove),
    (2, ALWAYS, damage.hit_while_links_are_made),
    (1, ALWAYS, damage.delete_interface),
    (1, ALWAYS, damage.delete_namespace),
    (1, ALWAYS, damage.down_and_up),
    (1, ALWAYS, damage.delete_files),
]
"""How often, when, what."""


def choose(world: World) -> Step:
    """The next step; it follows from the seed and the steps before alone."""
    if len(world.declared) < FEWEST:
        return changes.add(world)
    possible = {ALWAYS}
    if len(world.declared) < MOST:
        possible.add(CAN_ADD)
    if len(world.declared) > FEWEST:
        possible.add(CAN_REMOVE)
    if world.uplink:
        possible.add(WITH_UPLINK)
    fitting = [(weight, plan) for weight, when, plan in PLANS if when in possible]
    (plan,) = world.random.choices([plan for _, plan in fitting], [weight for weight, _ in fitting])
    return plan(world)
