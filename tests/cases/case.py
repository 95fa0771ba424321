"""What a case is, and where all of them are listed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from importlib import import_module
from pathlib import Path

CASES = Path(__file__).parent

KINDS = (
    "descriptors",
    "wakeups",
    "cancellation",
    "signals",
    "options",
    "reading",
    "ends",
    "connecting",
    "load",
)
"""Each is a package whose CASES are the cases of this kind."""

ONE_PROGRAM = ("plain", "direct", "client", "server")
"""Ways of a program that has both ends of its connections, over loopback: without the library, with it, and with it but
with the far end's descriptors hidden from it, so that only the client's end has it, or the server's."""

TWO_PROGRAMS = ("plain", "both", "client", "server")
"""Ways of two programs in two namespaces: who of them has the library."""

WAYS = ("plain", "direct", "both", "client", "server")


@dataclass(frozen=True)
class Case:
    """A program, and what it prints over the kernel's TCP and so has to print on every other path."""

    name: str
    """KIND/NAME; the program gets NAME as its argument."""
    program: Path
    expected: str
    """In each round."""
    ways: tuple[str, ...]
    rounds: int
    allowed: tuple[str, ...]
    """What it may print instead with the library, where refusing is as right as doing."""
    becomes_direct: bool
    """Whether the connection has to be direct when both ends have the library."""

    @property
    def test(self) -> str:
        return self.name.split("/")[1]

    def accepts(self, printed: str, way: str) -> bool:
        """Whether each round printed what TCP gives, or what is allowed with the library."""
        texts = (self.expected, *(() if way == "plain" else self.allowed))
        return printed in _sequences(texts, self.rounds)


def _sequences(texts: tuple[str, ...], rounds: int) -> Iterator[str]:
    if rounds == 0:
        yield ""
        return
    for rest in _sequences(texts, rounds - 1):
        yield from (text + rest for text in texts)


def _lines(text: str) -> str:
    """The text of a table of cases without its indentation, each line ended."""
    return "".join(f"{line.strip()}\n" for line in text.splitlines() if line.strip())


def repeated(text: str, times: int) -> str:
    """The text for a program that does the same several times."""
    return _lines(text) * times


def cases(
    program: str,
    tests: Mapping[str, str],
    *,
    ways: tuple[str, ...] = ONE_PROGRAM,
    clients: Iterable[str] = (),
    servers: Iterable[str] = (),
    rounds: int = 3,
    allowed: Mapping[str, Iterable[str]] | None = None,
    becomes_direct: bool = True,
) -> list[Case]:
    """The tests of a program, with the text that is right for each.

    Those among `clients` test the end that connects, so they are not run where only the server has the library;
    `servers` are those that test the end that accepts.
    """
    kind = program.split("/", maxsplit=1)[0]
    made = []
    for test, text in tests.items():
        others = tuple(_lines(other) for other in (allowed or {}).get(test, ()))
        dropped = {"server"} if test in clients else {"client"} if test in servers else set()
        made.append(
            Case(
                name=f"{kind}/{test}",
                program=CASES / program,
                expected=_lines(text),
                ways=tuple(way for way in ways if way not in dropped),
                rounds=rounds,
                allowed=others,
                becomes_direct=becomes_direct,
            )
        )
    return made


def every() -> list[Case]:
    """All cases in the order of their kinds."""
    return [case for kind in KINDS for case in import_module(f"tests.cases.{kind}").CASES]


def matching(patterns: Iterable[str]) -> list[Case]:
    """The cases whose name or kind is among the patterns; all of them when there are none."""
    wanted = list(patterns)

    def is_wanted(case: Case) -> bool:
        kind = case.name.split("/")[0]
        return any(word == kind or fnmatch(case.test, word) or fnmatch(case.name, word) for word in wanted)

    return [case for case in every() if not wanted or is_wanted(case)]
