"""Shows the product hostile input for as long as one likes: rings, frames, messages, requests, files.

    python -m tests.fuzz                         # some of everything, half a minute
    python -m tests.fuzz ring --count 10000000   # ten million states of a ring
    python -m tests.fuzz --seconds 600           # ten minutes for each target
    python -m tests.fuzz file --input 0a1b...    # one input again

`python -m tests.fuzz.guided TARGET` is led by coverage instead of chance, for what is written in Python;
`python -m tests.fuzz.libfuzzer` is so for the exchange, which is C.

A finding ends it with exit code 1, and prints the seed, the error and the input. Some targets keep what they talk to
from one input to the next: if the input alone does not do it, the seed does. With modules built with VNICD_SANITIZE=1
a look beyond the memory that is there ends it, too. Some targets need root, to make a TAP or to be allowed something;
all that they make is in a network namespace of their own.
"""

from __future__ import annotations

import argparse
import gc
import os
import secrets
import sys
import time

from tests.fuzz.target import Target, again, search
from tests.fuzz.targets import TARGETS
from vnicd.native import netns

SECONDS = 3.0


def arguments() -> argparse.Namespace:
    about = "\n".join(f"  {name:14}{target.about}" for name, target in TARGETS.items())
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz",
        description=f"{__doc__}\ntargets:\n{about}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="all when none is given")
    parser.add_argument("--count", type=int, help="messages, frames or states of each target")
    parser.add_argument("--seconds", type=float, help=f"for each target; {SECONDS:g} without --count")
    parser.add_argument("--seed", type=int, default=secrets.randbits(32))
    parser.add_argument("--input", type=bytes.fromhex, help="show one target this input")
    given = parser.parse_args()
    for name in given.targets:
        if name not in TARGETS:
            parser.error(f"there is no target {name}; there are {', '.join(TARGETS)}")
    if given.input is not None and len(given.targets) != 1:
        parser.error("this is for one target")
    return given


def run(name: str, target: Target, given: argparse.Namespace) -> bool:
    """Whether nothing was found."""
    count = given.count if given.count is not None else sys.maxsize
    seconds = given.seconds if given.seconds is not None else SECONDS if given.count is None else float("inf")

    def tell(done: int) -> None:
        print(f"{name}: {done}", file=sys.stderr, flush=True)

    begun = time.monotonic()
    done, finding = search(target, given.seed, count, seconds, tell)
    if finding is not None:
        print(f"{name}: after {done} from seed {given.seed}: {finding.lines()}", flush=True)
        return False
    spent = time.monotonic() - begun
    print(f"{name}: {done} from seed {given.seed} in {spent:.1f} s, nothing found", flush=True)
    return True


def main() -> int:
    given = arguments()
    is_root = os.geteuid() == 0
    if is_root:
        netns.unshare()  # what is made here is nobody else's, and goes with this process
    if given.input is not None:
        finding = again(TARGETS[given.targets[0]], given.input)
        print(finding.lines() if finding else "nothing found")
        return 1 if finding else 0
    fine = True
    for name in given.targets or TARGETS:
        target = TARGETS[name]
        if target.needs_root and not is_root:
            print(f"{name}: left out, it needs root")
            continue
        fine = run(name, target, given) and fine
        gc.collect()  # what it has left open is not to be closed while the next one counts descriptors
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
