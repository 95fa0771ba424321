"""Programs: steps that actors of both ends make in a fixed order, as replayable text and as the player's bytes."""

from __future__ import annotations

import re
import select
import signal
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

PLAYER = Path(__file__).parent / "player"

ACTORS = [f"{end}{number}" for end in "cs" for number in range(5)]
"""Of each end, three threads of its first process and two further processes."""

THREADS, ARGS, MAX_STEPS = 3, 8, 120

_STEP = struct.Struct("=BBBx8i")


def _operations() -> dict[str, list[str]]:
    text = (PLAYER / "ops.h").read_text()
    return {name: kinds.split() for name, kinds in re.findall(r'^OP\((\w+), "(.*)"\)', text, re.M)}


KINDS = _operations()
"""The kinds of each operation's arguments."""

NUMBERS = {name: number for number, name in enumerate(KINDS)}

OPTIONS = re.findall(r"^ +OPTION\(\w+, (\w+), \d+\)", (PLAYER / "options.c").read_text(), re.M)

HOW: dict[str, list[str]] = {
    "accept": ["plain", "named", "badname"],
    "close": ["close", "syscall", "kernel"],
    "dup": ["dup", "dup2", "dup3", "F_DUPFD", "F_DUPFD_CLOEXEC"],
    "file": ["memfd", "pipe", "unix", "udp", "eventfd"],
    "send": ["write", "writev", "send", "sendto", "sendmsg", "sendmmsg", "sendfile", "pwritev2"],
    "recv": ["read", "readv", "recv", "recvfrom", "recvmsg", "recvmmsg", "preadv2"],
    "poll": ["poll", "ppoll", "select", "pselect"],
    "epollctl": ["0", "ADD", "DEL", "MOD"],
    "epollwait": ["epoll_wait", "epoll_pwait", "epoll_pwait2"],
    "ioctl": ["FIONREAD", "SIOCOUTQ", "SIOCATMARK", "FIONBIO", "unknown"],
    "fcntl": ["GETFL", "SETFL", "GETFD", "SETFD"],
    "name": ["getsockname", "getpeername"],
    "fork": ["fork", "_Fork", "clone", "fork+exec", "posix_spawn", "vfork+exec"],
}
"""The ways in which an operation can be made."""


def _bits(prefix: str, module: object, names: str) -> dict[str, int]:
    return {name: int(getattr(module, prefix + name)) & 0xFFFFFFFF for name in names.split()}


MSG = _bits("MSG_", socket, "PEEK DONTWAIT WAITALL TRUNC NOSIGNAL MORE OOB") | {
    "WAITFORONE": 0x10000,
    "ERRQUEUE": 0x2000,
}
SOCK = {"NONBLOCK": int(socket.SOCK_NONBLOCK), "CLOEXEC": int(socket.SOCK_CLOEXEC)}
EVENTS = {"IN": 1, "PRI": 2, "OUT": 4, "ERR": 8, "HUP": 16, "NVAL": 32, "RDNORM": 64, "RDHUP": 0x2000} | {
    "EXCLUSIVE": 1 << 28, "ONESHOT": 1 << 30, "ET": int(select.EPOLLET) & 0xFFFFFFFF
}  # fmt: skip
FAMILIES = {"inet": int(socket.AF_INET), "inet6": int(socket.AF_INET6)}
SIGNALS = {"USR1": int(signal.SIGUSR1), "USR2": int(signal.SIGUSR2), "KILL": int(signal.SIGKILL)} | {
    "JUMP": int(signal.SIGRTMIN)
}
_FLAGS = {"msg": MSG, "sockflags": SOCK, "events": EVENTS}
_NAMES = {"family": FAMILIES, "signal": SIGNALS}


def signed(value: int) -> int:
    return value - (1 << 32) if value >= 1 << 31 else value


def flags_text(value: int, names: dict[str, int]) -> str:
    if value == -1:
        return "none"
    value &= 0xFFFFFFFF
    found = [name for name, bit in names.items() if value & bit]
    rest = value & ~sum(names[name] for name in found)
    return "|".join(found + ([hex(rest)] if rest else [])) or "0"


def _flags_value(text: str, names: dict[str, int]) -> int:
    if text == "none":
        return -1
    value = 0
    for name in text.split("|"):
        value |= names[name] if name in names else int(name, 0)
    return signed(value)


@dataclass(frozen=True)
class Step:
    """A call of one actor; `timed` tells that it ends by itself, and so is waited for."""

    actor: int
    op: str
    args: tuple[int, ...] = ()
    timed: bool = False

    @property
    def text(self) -> str:
        words = [self._word(kind, value) for kind, value in zip(KINDS[self.op], self.args, strict=False)]
        return " ".join([ACTORS[self.actor], self.op, *words, *(["timed"] if self.timed else [])])

    def _word(self, kind: str, value: int) -> str:
        if kind in _FLAGS:
            return flags_text(value, _FLAGS[kind])
        if kind in _NAMES:
            return next((name for name, known in _NAMES[kind].items() if known == value), str(value))
        if kind == "actor":
            return ACTORS[value] if self.op != "fork" else str(value)
        if kind == "option":
            return str(OPTIONS[value])
        ways = HOW.get(self.op, []) if kind == "how" else []
        return ways[value] if 0 <= value < len(ways) else str(value)

    @property
    def packed(self) -> bytes:
        padded = (*self.args, *(0 for _ in range(ARGS - len(self.args))))
        return _STEP.pack(self.actor, NUMBERS[self.op], self.timed, *map(signed, padded))


def parse_step(line: str) -> Step:
    actor, op, *words = line.split()
    timed = words[-1:] == ["timed"]
    values = [_value(op, kind, word) for kind, word in zip(KINDS[op], words, strict=False)]
    return Step(ACTORS.index(actor), op, tuple(values), timed)


def _value(op: str, kind: str, word: str) -> int:
    if kind in _FLAGS:
        return _flags_value(word, _FLAGS[kind])
    if kind in _NAMES and word in _NAMES[kind]:
        return _NAMES[kind][word]
    if kind == "actor" and word in ACTORS:
        return ACTORS.index(word)
    if kind == "option" and word in OPTIONS:
        return OPTIONS.index(word)
    ways = HOW.get(op, []) if kind == "how" else []
    return ways.index(word) if word in ways else int(word, 0)


@dataclass(frozen=True)
class Program:
    """Steps, and where they come from."""

    steps: tuple[Step, ...]
    seed: str = field(default="", compare=False)

    @property
    def text(self) -> str:
        return "".join(f"{step.text}\n" for step in self.steps)

    def with_steps(self, steps: Sequence[Step]) -> Program:
        return Program(tuple(steps), self.seed)

    @property
    def threads(self) -> tuple[int, int]:
        """How many threads the first process of each end has."""
        most = [1, 1]
        for step in self.steps:
            end, number = divmod(step.actor, 5)
            if number < THREADS:
                most[end] = max(most[end], number + 1)
        return most[0], most[1]

    @property
    def packed(self) -> bytes:
        return b"".join(step.packed for step in self.steps)


def parse_program(text: str) -> Program:
    """From a replay file: a step on each line; what follows a # is a comment, and a comment can name the seed."""
    seed = re.search(r"^# seed (\S+)", text, re.M)
    lines = [line.split("#")[0].strip() for line in text.splitlines()]
    return Program(tuple(parse_step(line) for line in lines if line), seed.group(1) if seed else "")


def parse_programs(text: str) -> list[Program]:
    """From a file of several programs, each of which begins with a comment that names its seed."""
    programs = [parse_program(part) for part in re.split(r"^(?=# seed )", text, flags=re.M)]
    return [program for program in programs if program.steps]
