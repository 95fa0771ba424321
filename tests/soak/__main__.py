"""The soak: steps from a seed until the time is up; at the first finding it says how to get there again."""

from __future__ import annotations

import argparse
import os
import secrets
import signal
import sys
import time
import traceback

from tests.framework import forked_cli
from tests.framework.fabric.leaks import differences, inventory
from tests.framework.waiting import wait_until
from tests.soak.invariants import check
from tests.soak.step import Step
from tests.soak.steps import choose
from tests.soak.world import World


def main() -> int:
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGHUP, lambda *_: sys.exit(129))
    print(f"soak: seed {options.seed}, {options.minutes:g} minutes", flush=True)
    world = World.build(options.seed)
    forked_cli.begin()
    before = inventory(world.fabric.runtime, world.fabric.tag)
    if "raised" in str(before.get("hugepage limit")):  # another fabric is just starting or ending
        del before["hugepage limit"], before["hugepages"]
    steps: list[str] = []
    outcome = 0
    try:
        try:
            outcome = run(world, options, steps)
        finally:
            ignore_signals()
            world.close()
        nothing_left(world, before)
    except KeyboardInterrupt:
        print("\nsoak: interrupted; all is taken away again", flush=True)
        return 130
    except AssertionError:
        return found(options.seed, steps)
    if not outcome:
        print(f"soak: {len(steps)} steps without a finding, seed {options.seed}")
    return outcome


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=2, help="how long it goes on (default: 2)")
    parser.add_argument("--seed", type=int, default=secrets.randbits(32), help="what the steps follow from")
    parser.add_argument(
        "--steps", type=int, default=1 << 30, help="end after so many steps, if that is sooner"
    )
    options = parser.parse_args()
    if options.minutes <= 0 or options.steps < 1:
        parser.error("--minutes and --steps must be above 0")
    return options


def ignore_signals() -> None:
    """What is there is taken away, whoever is impatient."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def run(world: World, options: argparse.Namespace, steps: list[str]) -> int:
    """1 after a finding."""
    begin = time.monotonic()
    try:
        world.start()
        while time.monotonic() < begin + 60 * options.minutes and len(steps) < options.steps:
            step = choose(world)
            steps.append(step.text)
            do(world, step, len(steps), begin)
    except KeyboardInterrupt:
        raise
    except Exception:
        code = found(options.seed, steps)
        print(world.fabric.logs(), file=sys.stderr)
        return code
    return 0


def do(world: World, step: Step, number: int, begin: float) -> None:
    """One step, and the look at everything after it."""
    start = time.monotonic()
    print(f"{start - begin:6.1f} {number:4} {step.text}", end="", flush=True)
    step.act()
    acted = time.monotonic() - start
    check(world)
    links = sum(link["state"] == "up" for link in world.fabric.call("links")["links"])
    state = f"{len(world.declared)} partitions, {links} links" + (f", {world.uplink}" if world.uplink else "")
    print(f" ({acted:.1f} + {time.monotonic() - start - acted:.1f} s; {state})", flush=True)


def nothing_left(world: World, before: dict[str, object]) -> None:
    """Fails unless the machine is as it was before."""

    def left() -> list[str]:
        return differences(before, inventory(world.fabric.runtime, world.fabric.tag))

    try:
        wait_until(lambda: not left(), 10, "the machine is as before")
    except AssertionError:
        raise AssertionError(f"left by the soak: {left()}") from None


def found(seed: int, steps: list[str]) -> int:
    """Tells of a finding; the exit code."""
    print("\n", flush=True)
    traceback.print_exc()
    lines = [f"{number:4} {text}" for number, text in enumerate(steps, 1)]
    print(f"\nsoak: a finding in step {len(steps)}; the steps so far:\n" + "\n".join(lines))
    print(f"soak: again with: scripts/soak --seed {seed} --steps {len(steps)} --minutes 60", flush=True)
    return 1


if __name__ == "__main__":
    assert os.geteuid() == 0, "the soak needs root"
    sys.exit(main())
