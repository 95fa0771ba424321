"""Shows the loop hostile ring states and frames for as long as one likes.

    python -m tests.fuzz                      # a million of each, a moment
    python -m tests.fuzz --count 1000000000   # more of them
    python -m tests.fuzz --seed 7 frames      # of one kind; the seed is printed when something was found

With modules that were built with VNICD_SANITIZE=1 a look beyond the memory that is there ends it, too.
"""

from __future__ import annotations

import argparse
import secrets
import sys

from vnicd import fuzz

KINDS = {"ring": fuzz.ring_states, "frames": fuzz.frames}
AT_ONCE = 1_000_000


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("kinds", nargs="*", choices=[*KINDS, []], help="all when none is given")
    parser.add_argument("--count", type=int, default=AT_ONCE, help="of each kind")
    parser.add_argument("--seed", type=int, default=secrets.randbits(32))
    given = parser.parse_args()
    for kind in given.kinds or KINDS:
        for first in range(0, given.count, AT_ONCE):
            try:
                KINDS[kind](given.seed + first, min(AT_ONCE, given.count - first))
            except AssertionError as error:
                print(f"{kind}: {error}", file=sys.stderr)
                return 1
        print(f"{kind}: {given.count} from seed {given.seed}, nothing found")
    return 0


sys.exit(main())
