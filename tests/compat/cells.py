"""Runs one row of the matrix: each way, a death of each end, a reload; every cell ends within its time."""

from __future__ import annotations

import re
import signal
import subprocess
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from tests.compat.case import Case
from tests.compat.processes import kill_tree
from tests.compat.program import Holder, Program
from tests.compat.world import World
from tests.framework.fabric.partition import Argv
from tests.framework.sockets.direct import Watch
from tests.framework.waiting import wait_until

NOTICE_TIMEOUT_S = 10
"""How long an end may take to notice that the other was killed."""

DIRECT_TIMEOUT_S = 3
"""How long a connection that stays is looked at, before it is said not to be direct."""

RIGHT, DIRECT, FAILED, NOT_DIRECT, NONE, SKIPPED = (
    "right",
    "direct",
    "failed",
    "not direct",
    "none",
    "skipped",
)
GOOD = {RIGHT, DIRECT, NONE}


COMMAND = r"^\[.*?\](?: in [\w-]+)?: "
"""The command at the beginning of a message that tells how it ended."""

RAISED = r"\w+(?:Error|Exception|Timeout): [^\\]{1,160}"
"""The line of a traceback that tells what was raised."""


@dataclass(frozen=True)
class Cell:
    """What became of a cell; `text` says what went wrong."""

    outcome: str
    text: str = ""
    seconds: float = 0

    @property
    def is_good(self) -> bool:
        return self.outcome in GOOD


class TooLate(Exception):
    """A cell did not end within its time."""


class Looker(Watch):
    """Watches for direct connections, and leaves the judgement to the cell."""

    PAUSE = 0.02

    def check(self) -> None:
        """Nothing: the cell says more than that."""


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raises TooLate in the main thread after so many seconds."""

    def late(number: int, frame: FrameType | None) -> None:
        raise TooLate(f"not over after {seconds:g} s")

    before = signal.signal(signal.SIGALRM, late)
    left = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, *left)


def symptom(error: BaseException) -> str:
    """One line that tells what went wrong, and where in the program's module for a time-out."""
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, TooLate):
        frames = [
            each for each in traceback.extract_tb(error.__traceback__) if "/compat/families/" in each.filename
        ]
        where = f" in {frames[-1].name}: {frames[-1].line}" if frames else ""
        return text + where
    if isinstance(error, subprocess.TimeoutExpired):
        return f"{plain_words(error.cmd)} was not over after {error.timeout:g} s"
    text = re.sub(COMMAND, "", text)
    if "Traceback" in text and (raised := re.findall(RAISED, text)):
        text = "; ".join(dict.fromkeys(raised[:2]))
    return text if isinstance(error, AssertionError) else f"{type(error).__name__}: {text}"


def plain_words(argv: Argv) -> str:
    """The command without what puts it into its partition."""
    words = [word for word in argv if not word.startswith(("--net=", "LD_PRELOAD=", "HOME="))]
    dropped = {"nsenter", "--", "env", "-u", "LD_PRELOAD"}
    kept = [Path(word).name if word.startswith("/") else word for word in words if word not in dropped]
    return " ".join(kept)[:120]


def run_cell(world: World, way: str, limit: float, body: Callable[[Case], str]) -> Cell:
    """The outcome of `body`, which returns one; the world is clean afterwards."""
    begin = time.monotonic()
    case = world.case(way)
    try:
        with limited(limit):
            cell = Cell(body(case))
    except KeyboardInterrupt:
        raise
    except Exception as error:
        said = case.said()
        cell = Cell(FAILED, symptom(error) + (f" | server: {said}" if said else ""))
    seconds = time.monotonic() - begin
    try:
        with limited(limit):
            world.clean(case)
    except Exception as error:
        cell = Cell(FAILED, f"{cell.text}; not cleaned up: {symptom(error)}")
    return Cell(cell.outcome, cell.text, round(seconds, 1))


def exchange(program: Program, case: Case) -> str:
    """Data there and back; whether connections were direct is told beside."""
    with Looker(case.ends) as seen, program.serve(case):
        program.check(case)
        if program.holds and case.ends.direct and program.direct and not seen.most:
            program.hold(case)  # short connections may have been missed
            with suppress(AssertionError):
                wait_until(lambda: seen.most, DIRECT_TIMEOUT_S, "the connection that stays is direct")
    if not case.ends.direct:
        assert not seen.most, f"{seen.most} connections were direct, and only one end has the library"
        return RIGHT
    if seen.most:
        return DIRECT
    return NOT_DIRECT if program.direct else RIGHT


def deaths(world: World, program: Program, case: Case) -> str:
    """Kills the client, then the server; the other end must let go of the connection within seconds."""
    with program.serve(case):
        program.check(case)
        idle = world.settled(world.server)
        killed = held(world, program, case)
        kill_tree(killed.pid)
        wait_until(
            lambda: world.lets_go(world.server, idle),
            NOTICE_TIMEOUT_S,
            "the server notices that its client was killed",
        )
        holder = held(world, program, case)
        busy = world.use(world.client)
        world.kill(world.server)
        wait_until(
            lambda: holder.poll() is not None or world.lets_go(world.client, busy.less()),
            NOTICE_TIMEOUT_S,
            "the client notices that its server was killed",
        )
    return RIGHT


def held(world: World, program: Program, case: Case) -> Holder:
    """The program's client, which has a connection that each end's descriptors show."""
    holder = program.hold(case)
    both = (world.client, world.server)
    wait_until(
        lambda: all(world.use(each).connections for each in both), NOTICE_TIMEOUT_S, "a connection is held"
    )
    return holder


def reloaded(program: Program, case: Case) -> str:
    with program.serve(case):
        program.reload(case)
    return RIGHT


def row(world: World, program: Program, ways: list[str]) -> Iterator[tuple[str, Cell]]:
    """The cells of a program, as they come; those of deaths and reloads are done in one way."""
    for way in ways:
        yield way, run_cell(world, way, program.limit, lambda case: exchange(program, case))
    way = "both" if "both" in ways else ways[0]
    if program.holds:
        yield "kill -9", run_cell(world, way, program.limit, lambda case: deaths(world, program, case))
    else:
        yield "kill -9", Cell(NONE)
    if program.reloads:
        yield "reload", run_cell(world, way, program.limit, lambda case: reloaded(program, case))
    else:
        yield "reload", Cell(NONE)
