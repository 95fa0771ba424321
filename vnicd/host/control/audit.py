"""One line of the log for each change that somebody asks for: who, what, and what came of it. Reading leaves none.

Who it was the kernel tells (SO_PEERCRED): user and process. Its name, and who had logged in before sudo, are read of
the process when its request comes, as it may have ended when the change is done. Whoever is not root is refused, and
could ask as often as he likes: that is said once for each user and method, and then counted.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vnicd.errors import VnicdError
from vnicd.process import logs
from vnicd.process.repeats import Repeats
from vnicd.protocol.log_line import NOTICE

log = logging.getLogger("vnicd.audit")
log.setLevel(NOTICE)

MOST_TEXT = 300
"""Characters of what was asked for."""

NOBODY_LOGGED_IN = 2**32 - 1
"""As what the kernel has it for a process that no login has led to (proc_pid_loginuid(5))."""

USERS = Path("/etc/passwd")


@dataclass(frozen=True)
class Asker:
    """A process that asks for a change; `login` is the user who had logged in, None if nobody had."""

    uid: int
    pid: int
    program: str
    login: int | None

    def __str__(self) -> str:
        before = f", logged in as {_user(self.login)}" if self.login not in (None, self.uid) else ""
        return f"{_user(self.uid)}{before}, pid {self.pid}, {self.program or 'unknown program'}"


def asker(uid: int, pid: int) -> Asker:
    """The process that has connected, as long as it is there."""
    login = _read(pid, "loginuid")
    number = int(login) if login.isdigit() else NOBODY_LOGGED_IN
    return Asker(uid, pid, shown(_read(pid, "comm")), None if number == NOBODY_LOGGED_IN else number)


def shown(text: str) -> str:
    """A text of somebody else's as a part of a line."""
    line = "".join(char if char.isprintable() else "?" for char in text.strip())
    return line if len(line) <= MOST_TEXT else f"{line[:MOST_TEXT]}..."


def request_words(method: str, params: Mapping[str, Any]) -> str:
    """What was asked for, in the words of the protocol: partition.add blue addresses=10.77.0.1/24."""
    words = [method]
    if isinstance(params.get("name"), str):
        words.append(params["name"])
    is_whole = method == "partition.set"  # what is left out there stays, and what is empty does not
    words += [
        _setting(key, value) for key, value in params.items() if key != "name" and (is_whole or _says(value))
    ]
    return shown(" ".join(words))


def outcome_words(result: object) -> str:
    """What a change has led to: `done`, or how many of many."""
    changes = result.get("changes") if isinstance(result, dict) else None
    if not isinstance(result, dict) or not isinstance(changes, list):
        return "done"
    if result.get("refused"):
        return "refused, and nothing was changed"
    done = sum(bool(change.get("done")) for change in changes)
    return f"done, {done} of {len(changes)} changes" if changes else "done, nothing to change"


class Audit:
    """`refused` remembers whom it has told of: user and method."""

    def __init__(self) -> None:
        self.refused = Repeats[tuple[int, str]]()

    def done(self, who: Asker, method: str, params: Mapping[str, Any], result: object) -> None:
        self._say(NOTICE, who, method, params, outcome_words(result))

    def failed(self, who: Asker, method: str, params: Mapping[str, Any], error: VnicdError) -> None:
        self._say(logging.WARNING, who, method, params, f"failed: {error.line()}")

    def refuse(self, uid: int, pid: int, method: str, error: VnicdError) -> None:
        """Somebody who may not do this wants it: not even what it was about is believed."""
        self.look()
        method = shown(method[:64])
        if self.refused.is_new((uid, method)):
            self._say(logging.WARNING, asker(uid, pid), method, {}, f"refused: {error.line()}")

    def look(self) -> None:
        """Say how often those came again who were refused, if it is time; to be called from time to time."""
        for (uid, method), words in self.refused.counted():
            about = {"VNICD_USER": _name(uid), "VNICD_METHOD": method}
            log.warning("%s: refused to %s %s", method, _user(uid), words, extra=_extra(about))

    def _say(self, level: int, who: Asker, method: str, params: Mapping[str, Any], outcome: str) -> None:
        about = {
            "VNICD_USER": _name(who.uid),
            "VNICD_PID": str(who.pid),
            "VNICD_PROGRAM": who.program,
            "VNICD_METHOD": method,
        }
        if who.login is not None:
            about["VNICD_LOGIN"] = _name(who.login)
        if method.startswith("partition.") and isinstance(params.get("name"), str):
            about["VNICD_PARTITION"] = shown(params["name"])
        log.log(level, "%s: %s; for %s", request_words(method, params), outcome, who, extra=_extra(about))


def _extra(fields: dict[str, str]) -> dict[str, Any]:
    return {"fields": fields, logs.ALWAYS: True}


def _says(value: object) -> bool:
    return value not in (None, "", False, [], {})


def _setting(key: str, value: object) -> str:
    """A parameter and its value; of a whole fabric, only how much it is."""
    if value is True:
        return key
    if value is None or value == []:
        return f"{key}=none"
    if isinstance(value, dict):
        return f"{key}: {_fabric(value)}" if key == "declared" else f"{key}={{...}}"
    if isinstance(value, list):
        return f"{key}={','.join(map(str, value))}"
    return f"{key}={value}"


def _fabric(tree: dict[str, Any]) -> str:
    partitions = tree.get("partitions")
    count = len(partitions) if isinstance(partitions, dict) else 0
    return f"{count} partitions{', an uplink' if tree.get('uplink') else ''}"


def _user(uid: int) -> str:
    name = _name(uid)
    return f"user {uid}" if name == str(uid) else f"{name} (uid {uid})"


def _name(uid: int) -> str:
    """The name of a user of this machine, else his number: to ask a directory service could take long."""
    try:
        rows = USERS.read_text(errors="replace").splitlines()
    except OSError:
        return str(uid)
    found = (row.split(":") for row in rows if f":{uid}:" in row)
    return next((row[0] for row in found if len(row) > 2 and row[2] == str(uid) and row[0]), str(uid))


def _read(pid: int, name: str) -> str:
    """A file about a process; empty when that has ended."""
    try:
        return Path(f"/proc/{pid}/{name}").read_text(errors="replace")
    except OSError:
        return ""
