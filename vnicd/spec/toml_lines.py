"""On which line of a TOML text a key stands, which tomllib does not tell; for error messages.

The text must be one that tomllib reads: nothing is checked here.
"""

from __future__ import annotations

import re
import tomllib

Key = tuple[str | int, ...]
"""The way to a value: names of tables and keys, and numbers of items in arrays."""

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_PART = re.compile(r'[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|' + r"'[^']*'")
_DOT = re.compile(r"[ \t]*\.[ \t]*")
_SCALAR = re.compile(
    r'"""(?:[^\\]|\\.)*?"""(?:"{0,2})'
    r"|'''.*?'''(?:'{0,2})"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'"
    r"|[^,\]}\r\n#]+",
    re.DOTALL,
)


def line_of(text: str, key: Key) -> int:
    """The line of a key or item, or else of the nearest table around it; 1 when there is none of that either."""
    found = _Scanner(text).run()
    while key and key not in found:
        key = key[:-1]
    return found.get(key, 1)


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.line = 1
        """That of the place where lines were counted last."""
        self.counted = 0
        self.found: dict[Key, int] = {}
        self.tables: dict[Key, int] = {}
        """How many tables each array of tables has so far."""

    def run(self) -> dict[Key, int]:
        table: Key = ()
        self._blank()
        while self.at < len(self.text):
            if self.text[self.at] == "[":
                table = self._header()
            else:
                self._pair(table)
            self._blank()
        return self.found

    def _blank(self) -> None:
        self._take(_BLANK)

    def _take(self, pattern: re.Pattern[str]) -> str:
        """What matches here, empty if nothing does; it is passed."""
        match = pattern.match(self.text, self.at)
        self.at = match.end() if match else self.at
        return match[0] if match else ""

    def _skip(self, count: int) -> None:
        self.at += count
        self._blank()

    def _note(self, prefix: Key, parts: Key) -> None:
        """A dotted key is also the first to name the tables on its way."""
        self.line += self.text.count("\n", self.counted, self.at)
        self.counted = self.at
        for length in range(1, len(parts) + 1):
            self.found.setdefault(prefix + parts[:length], self.line)

    def _key(self, prefix: Key) -> Key:
        start = self.at
        parts: list[str] = []
        while not parts or self._take(_DOT):
            part = self._take(_PART)
            parts.append(tomllib.loads(f"x={part}")["x"] if part[:1] in ('"', "'") else part)
        end, self.at = self.at, start
        self._note(prefix, tuple(parts))
        self.at = end
        return (*prefix, *parts)

    def _header(self) -> Key:
        is_array = self.text.startswith("[[", self.at)
        self._skip(1 + is_array)
        key = self._key(())
        self._blank()
        self.at += 1 + is_array
        if not is_array:
            return key
        number = self.tables[key] = self.tables.get(key, -1) + 1
        return (*key, number)

    def _pair(self, table: Key) -> None:
        key = self._key(table)
        self._blank()
        self._skip(1)  # =
        self._value(key)

    def _value(self, key: Key) -> None:
        first = self.text[self.at]
        if first not in "[{":
            self._take(_SCALAR)
            return
        end, number = ("]", 0) if first == "[" else ("}", -1)
        self._skip(1)
        while self.text[self.at] != end:
            if end == "]":
                self._note(key, (number,))
                self._value((*key, number))
                number += 1
            else:
                self._pair(key)
            self._blank()
            if self.text[self.at] == ",":
                self._skip(1)
        self.at += 1
