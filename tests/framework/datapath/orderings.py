"""An exhaustive explorer of what two or three threads can do to shared memory on a machine that orders little.

Theory of operation. A thread is a generator that yields operations and gets what a load has found. Its stores wait in
buffers, one for each variable, and reach memory whenever the explorer likes: those to one variable in order, those to
different ones in any order. A release store leaves its buffer only after all that the thread has stored before; a
fence waits until the thread's buffers are empty. Loads of one `Loads` happen in any order: so loads are written that no
acquire and no fence keeps apart. A thread sees its own stores at once. That is weaker than x86, whose stores leave in
order, and in what matters here as weak as arm64.

The explorer runs the program anew for each sequence of choices: which thread goes on, or which buffered store reaches
memory. Programs are a few operations long, so all sequences can be tried.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Store:
    name: str
    value: int
    release: bool = False


@dataclass(frozen=True)
class Loads:
    """Gets a tuple of values."""

    names: tuple[str, ...]


@dataclass(frozen=True)
class Fence:
    pass


Operation = Store | Loads | Fence
Thread = Generator[Operation, Any, None]
Program = Callable[[dict[str, int]], list[Thread]]
"""Makes the threads anew; they note in the dictionary what a check wants to know."""


def load(name: str) -> Loads:
    return Loads((name,))


class _Run:
    """One execution, by the choices that it is given and, behind them, always the first."""

    def __init__(self, program: Program, choices: list[int]) -> None:
        self.notes: dict[str, int] = {}
        self.memory: dict[str, int] = {}
        self.threads = program(self.notes)
        self.buffers: list[list[Store]] = [[] for _ in self.threads]
        self.pending: list[Operation | None] = [None] * len(self.threads)
        self.found: list[dict[str, int]] = [{} for _ in self.threads]
        self.choices, self.taken, self.widths = choices, 0, []
        for number in range(len(self.threads)):
            self._advance(number, None)
        while steps := list(self._steps()):
            steps[self._choose(len(steps))]()

    def _choose(self, width: int) -> int:
        self.widths.append(width)
        choice = self.choices[self.taken] if self.taken < len(self.choices) else 0
        self.taken += 1
        return choice

    def _steps(self) -> Iterator[Callable[[], None]]:
        for number, operation in enumerate(self.pending):
            for index, store in enumerate(self.buffers[number]):
                earlier = self.buffers[number][:index]
                if not (store.release and earlier) and store.name not in [each.name for each in earlier]:
                    yield lambda number=number, index=index: self._flush(number, index)  # type: ignore[misc]
            if isinstance(operation, Loads):
                for name in operation.names:
                    if name not in self.found[number]:
                        yield lambda number=number, name=name: self._load(number, name)  # type: ignore[misc]
            elif isinstance(operation, Store) or (operation is not None and not self.buffers[number]):
                yield lambda number=number: self._do(number)  # type: ignore[misc]

    def _flush(self, number: int, index: int) -> None:
        store = self.buffers[number].pop(index)
        self.memory[store.name] = store.value

    def _load(self, number: int, name: str) -> None:
        own = [store.value for store in self.buffers[number] if store.name == name]
        self.found[number][name] = own[-1] if own else self.memory.get(name, 0)
        operation = self.pending[number]
        assert isinstance(operation, Loads)
        if len(self.found[number]) == len(operation.names):
            found = tuple(self.found[number][each] for each in operation.names)
            self.found[number] = {}
            self._advance(number, found)

    def _do(self, number: int) -> None:
        operation = self.pending[number]
        if isinstance(operation, Store):
            self.buffers[number].append(operation)
        self._advance(number, None)

    def _advance(self, number: int, result: tuple[int, ...] | None) -> None:
        try:
            self.pending[number] = self.threads[number].send(result)
        except StopIteration:
            self.pending[number] = None


def outcomes(program: Program) -> Iterator[tuple[dict[str, int], dict[str, int]]]:
    """(what the threads have noted, memory at the end) of every execution that there can be."""
    choices: list[int] = []
    while True:
        run = _Run(program, choices)
        yield run.notes, run.memory
        taken = (choices + [0] * len(run.widths))[: len(run.widths)]
        while taken and taken[-1] + 1 >= run.widths[len(taken) - 1]:
            taken.pop()
        if not taken:
            return
        choices = [*taken[:-1], taken[-1] + 1]
