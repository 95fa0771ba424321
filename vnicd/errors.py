"""Every error a user can meet: its message, what to do next, and its exit code."""

from __future__ import annotations

import errno
from collections.abc import Iterable

EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.ENOBUFS, errno.EAGAIN)
"""What the system says when there is too little of something: it says nothing about what was asked for."""

LONGEST, LONGEST_END = 400, 100
"""Characters of a message or a hint that are shown, and how many of them are those of its end."""


class VnicdError(Exception):
    """Base of all errors that are reported in one line.

    `message` says what is wrong, `hint` what to do next (may be empty). `code` names the error on the
    control socket, `exit_code` is what vnicctl and vnicd exit with.
    """

    code = "failed"
    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def line(self) -> str:
        """The message and the hint as one line that can be shown, whatever a user's words in it are."""
        message, hint = _shown(self.message), _shown(self.hint)
        return f"{message}; {hint}" if hint else message


def printable(text: str) -> str:
    """A text without control characters: names of programs, reasons and logs are what anybody has made them."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _shown(text: str) -> str:
    """A text as one line that a terminal can show: without control characters, and what is long without its middle."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= LONGEST else f"{line[: LONGEST - LONGEST_END]} ... {line[-LONGEST_END:]}"


class NotRunning(VnicdError):
    code, exit_code = "not_running", 3


class AlreadyRunning(VnicdError):
    code, exit_code = "already_running", 4


class NotFound(VnicdError):
    code, exit_code = "not_found", 5


class Exists(VnicdError):
    code, exit_code = "exists", 6


class Invalid(VnicdError):
    code, exit_code = "invalid", 7


class Taken(VnicdError):
    code, exit_code = "taken", 8


class NoNamespace(VnicdError):
    code, exit_code = "no_namespace", 9


class NoHugepages(VnicdError):
    code, exit_code = "no_hugepages", 10


TO_READ = "run vnicctl with sudo, or to read, join the group vnicd"
"""What to do for who may not even read."""


class NotPermitted(VnicdError):
    code, exit_code = "not_permitted", 11


class Unsupported(VnicdError):
    code, exit_code = "unsupported", 12


class TimedOut(VnicdError):
    code, exit_code = "timeout", 13


class Resources(VnicdError):
    code, exit_code = "resources", 14


class Busy(VnicdError):
    code, exit_code = "busy", 15


class Refused(VnicdError):
    """Some of several changes can't be made, so none was."""

    code, exit_code = "refused", 16


BY_CODE: dict[str, type[VnicdError]] = {
    cls.code: cls
    for cls in (
        VnicdError,
        NotRunning,
        AlreadyRunning,
        NotFound,
        Exists,
        Invalid,
        Taken,
        NoNamespace,
        NoHugepages,
        NotPermitted,
        Unsupported,
        TimedOut,
        Resources,
        Busy,
        Refused,
    )
}


def from_code(code: str, message: str, hint: str = "") -> VnicdError:
    """The error of a reply on the control socket; an unknown code is a plain VnicdError."""
    return BY_CODE.get(code, VnicdError)(message, hint)


def doctor_exit_code(statuses: Iterable[str]) -> int:
    """What `vnicctl doctor` and `vnicd check` exit with: 0 all is well, 1 a warning, 2 something does not work.

    What could not be looked at counts as a warning.
    """
    found = set(statuses)
    return 2 if "fail" in found else 1 if found & {"warn", "skip"} else 0
