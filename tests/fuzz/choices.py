"""Makes an input out of bytes, so that random ones and those of a coverage-guided fuzzer serve alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

T = TypeVar("T")

NUMBERS = (
    0, 1, 2, 3, 255, 256, 257, 4096, 65535, 65536, 2**31 - 1, 2**31, 2**32, 2**62, 2**63 - 1, 2**63, 2**64, 2**200,
    -1, -2, -(2**31), -(2**63), -(2**63) - 1, 10**400,
)  # fmt: skip
FLOATS = (0.0, -0.0, 0.5, 1e308, 5e-324, float("inf"), float("-inf"), float("nan"))
TEXTS = (
    "", " ", "x", "op", "0", "1", "-1", "1e9", "None", "\n", "a\nb", "\0", "\x1b[2J", "\ud800", "é", "\u202e", "٣",
    "name", "%s%n", "{}", "../..", "x" * 300, "9" * 5000,
)  # fmt: skip


class Choices:
    """Reads `data` byte by byte; behind its end all choices are the first ones, so every input comes to an end."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    @property
    def more(self) -> bool:
        return self.at < len(self.data)

    def byte(self) -> int:
        at = self.at
        self.at = at + 1
        return self.data[at] if at < len(self.data) else 0

    def below(self, count: int) -> int:
        """A number below `count`, which is 65536 at most."""
        return (self.byte() if count <= 256 else self.byte() << 8 | self.byte()) % count

    def one_in(self, count: int) -> bool:
        return self.below(count) == count - 1

    def pick(self, values: Sequence[T]) -> T:
        return values[self.below(len(values))]

    def take(self, length: int) -> bytes:
        at = self.at
        self.at = at + length
        return self.data[at : at + length]

    def number(self) -> int:
        return self.pick(NUMBERS) if self.one_in(2) else self.below(300) - 20

    def text(self) -> str:
        if self.one_in(2):
            return self.pick(TEXTS)
        return self.take(self.below(12)).decode("latin-1")

    def value(self, depth: int = 3) -> Any:
        """Whatever JSON can say."""
        kind = self.below(9 if depth else 6)
        if kind <= 1:
            return self.number()
        if kind <= 3:
            return self.text()
        if kind == 4:
            return self.pick(FLOATS)
        if kind == 5:
            return self.pick((None, True, False))
        if kind == 6:
            return {self.text(): self.value(depth - 1) for _ in range(self.below(4))}
        return [self.value(depth - 1) for _ in range(self.below(4))]


def damaged(choices: Choices, data: bytes) -> bytes:
    """The same with some bytes lost, doubled or others."""
    for _ in range(choices.below(4)):
        at = choices.below(65536) % (len(data) + 1)
        length = choices.below(8)
        kind = choices.below(4)
        if kind == 0:
            data = data[:at] + data[at + length :]
        elif kind == 1:
            data = data[:at] + data[at : at + length] + data[at:]
        elif kind == 2:
            data = data[:at] + choices.take(length) + data[at + length :]
        else:
            data = data[:at]
    return data
