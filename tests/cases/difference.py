"""What a case printed that is not what it had to print."""

from __future__ import annotations

from difflib import ndiff

from tests.cases.run import Outcome

ENDINGS = ("exit code", "killed by", "still running")
"""How the line begins that tells of a program's end."""

MOST_LINES = 7
"""Of a difference that is shown."""


def difference(outcome: Outcome) -> list[str]:
    """What was not printed (-) and what was instead (+), from the first round that differs on."""
    wanted, printed = outcome.case.expected.splitlines(), outcome.printed.splitlines()
    equal = 0
    while equal < outcome.case.rounds - 1 and printed[: len(wanted)] == wanted:
        equal += 1
        printed = printed[len(wanted) :]
    is_last = equal == outcome.case.rounds - 1
    lines = [
        f"{line[0]} {line[2:]}"
        for line in ndiff(wanted, printed if is_last else printed[: len(wanted)])
        if line.startswith(("- ", "+ "))
    ]
    shown = lines[:MOST_LINES]
    if len(lines) > MOST_LINES:
        shown.append(f"  ({len(lines) - MOST_LINES} more lines)")
    if not is_last and printed[len(wanted) :] and printed[-1].startswith(ENDINGS):
        shown.append(f"+ {printed[-1]}")
    where = [f"in round {equal + 1} of {outcome.case.rounds}:"] if outcome.case.rounds > 1 else []
    return [*where, *shown, *(f"! {line}" for line in outcome.errors.splitlines()[-5:])]
