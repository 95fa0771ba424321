"""A line of a log file: when, how grave, and what; for who writes it and who reads it."""

from __future__ import annotations

import logging
import re
import time
from typing import NamedTuple

NOTICE = 25
"""Of changes that somebody asked for: graver than info, and no fault."""

LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "notice": NOTICE,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}

PRIORITIES = {"debug": 7, "info": 6, "notice": 5, "warning": 4, "error": 3, "critical": 2}
"""What syslog and the journal call them."""

_LINE = re.compile(
    r"(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d{4}) (?P<level>[a-z]{4,8}) (?P<text>.*)", re.DOTALL
)


class LogLine(NamedTuple):
    """`time` is as in 2026-03-09T17:04:59.120+0100, and empty like `level` for what was not written by logging."""

    time: str
    level: str
    text: str


def level_name(number: int) -> str:
    """The name of a level of the module logging; of one in between, that of the next lower one."""
    names = [name for name, least in LEVELS.items() if least <= number]
    return names[-1] if names else "debug"


def priority(number: int) -> int:
    """The syslog priority of a level of the module logging."""
    return PRIORITIES[level_name(number)]


def timestamp(seconds: float) -> str:
    """A time since the epoch as it stands in a line: local, to the millisecond, with its distance from UTC."""
    local = time.localtime(seconds)
    milliseconds = int(seconds % 1 * 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', local)}.{milliseconds:03}{time.strftime('%z', local)}"


def file_lines(seconds: float, number: int, message: str) -> str:
    """The lines of a message in a file, each with the time, without the last line feed."""
    head = f"{timestamp(seconds)} {level_name(number)} "
    return "\n".join(head + line for line in message.split("\n"))


def stderr_lines(number: int, message: str) -> str:
    """The lines of a message on a standard error that systemd reads: each with its priority (sd-daemon(3))."""
    head = f"<{priority(number)}>"
    return "\n".join(head + line for line in message.split("\n"))


def parse(line: str) -> LogLine:
    """What a line of a file says."""
    found = _LINE.fullmatch(line)
    if found is None or found["level"] not in LEVELS:
        return LogLine("", "", line)
    return LogLine(found["time"], found["level"], found["text"])
