"""Plays random programs of socket calls over the kernel's TCP and over direct connections, and compares."""

from __future__ import annotations

import argparse
import os
import secrets
import sys
from collections import Counter
from pathlib import Path

from tests.conformance.compare import Difference, is_allowed, is_late, is_steady, seen_again
from tests.conformance.lanes import ENDS, LIBRARY, Lane, PlayerFailed, build, enter_namespace, lanes
from tests.conformance.program import Program, parse_programs
from tests.conformance.runner import FOLDER, NothingDirect, Plan, Run
from tests.conformance.trace import side_by_side


def main() -> int:
    options = arguments()
    player = build(FOLDER)
    enter_namespace()
    try:
        with lanes(options.library, options.ends, player, options.variable) as ready:
            return replay(ready, options.replay) if options.replay else run(ready, options)
    except PlayerFailed as error:
        print(f"conformance: {error}", file=sys.stderr)
        return 2


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/conformance", description=__doc__)
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--seconds", type=float, help="how long it goes on (default: 60)")
    length.add_argument("--programs", type=int, help="how many programs it plays")
    parser.add_argument(
        "--seed", type=int, default=secrets.randbits(32), help="what the programs follow from"
    )
    parser.add_argument("--first", type=int, default=0, help="the number of the first program (default: 0)")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="play this program alone, and show it")
    parser.add_argument("--library", type=Path, default=LIBRARY, help="the library to preload")
    parser.add_argument("--ends", type=ends, default="both,client,server", help="which ends have the library")
    parser.add_argument("--without", default="", help="operations and pieces to leave out, with commas")
    parser.add_argument("--shrink", type=int, default=20, help="how many differences to shrink (default: 20)")
    parser.add_argument(
        "--keep", type=Path, default=FOLDER, metavar="FOLDER", help="where the differences are kept"
    )
    parser.add_argument(
        "--variable", action="append", default=[], metavar="NAME=VALUE", help="for the players' environment"
    )
    options = parser.parse_args()
    options.library = options.library.resolve()
    if not options.library.exists():
        parser.error(f"there is no {options.library}")
    if options.seconds is None and options.programs is None:
        options.seconds = 60
    return options


def ends(text: str) -> list[str]:
    names = text.split(",")
    if unknown := set(names) - set(ENDS) | ({"none"} & set(names)):
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}")
    return names


def run(ready: dict[str, Lane], options: argparse.Namespace) -> int:
    plan = Plan(
        options.seed,
        options.seconds,
        options.programs,
        options.shrink,
        list(filter(None, options.without.split(","))),
        options.first,
        options.keep,
    )
    now = Run(ready, plan)
    try:
        different = now.run()
    except NothingDirect:
        print("conformance: no connection was direct", file=sys.stderr)
        return 2
    print(now.progress)
    for kind, count in now.kinds.most_common():
        if count:
            print(f"{count:6} {' '.join(kind)}")
    print(f"conformance: {now.programs} programs, {different} differences, seed {options.seed}", flush=True)
    return 1 if different else 0


def replay(ready: dict[str, Lane], file: Path) -> int:
    """Shows what differs in the programs of a file; a program that is alone in it is shown in any case."""
    try:
        programs = parse_programs(file.read_text())
    except OSError as error:
        print(f"conformance: cannot read {file}: {error.strerror}", file=sys.stderr)
        return 2
    found = Counter(replay_program(ready, program, len(programs) == 1) for program in programs)
    if len(programs) > 1:
        print(f"conformance: {len(programs)} programs, {found[1]} differences, {found[2]} unsteady")
    return 1 if found[1] else 2 if found[2] else 0


def replay_program(ready: dict[str, Lane], program: Program, show: bool) -> int:
    """0 if it goes as over the kernel's TCP in every combination, 1 if not, 2 if the kernel's outcome varies."""
    plain = ready["none"]
    kernel = plain.play(program)
    if not is_steady(plain, program, kernel):
        return unsteady(program)
    different = False
    for name, lane in ready.items():
        trace = lane.play(program, kernel)
        if lane is plain and not trace.same(kernel):
            return unsteady(program)
        if trace.same(kernel):
            if show:
                print(f"# {name}: the same" + (f", {trace.direct} sends direct" if trace.direct else ""))
            continue
        verdict = "different"
        if is_allowed(program, kernel, trace):
            verdict = "different, as it may be"
        elif is_late(plain, lane, program):
            verdict = "only late"
        elif seen_again(lane, program, kernel) is None:
            verdict = "different once"
        different = different or verdict == "different"
        print(f"# {name}: {verdict}")
        print(Difference(program, name, kernel, trace).text)
    if show and not different:
        print(side_by_side(program, kernel))
    return int(different)


def unsteady(program: Program) -> int:
    print(
        f"conformance: {program.seed}: the outcome over the kernel's TCP is not the same each time",
        file=sys.stderr,
    )
    return 2


if __name__ == "__main__":
    assert os.geteuid() == 0, "the player needs root, for a network namespace"
    sys.exit(main())
