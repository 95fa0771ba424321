"""How a daemon logs: to the journal, to its log file or to standard error, whichever it finds itself with.

- Where systemd reads standard error, the hosting daemon writes to the journal, with the fields below; where the library
  for that is missing, and for partition daemons, which are to stay small, each line begins with its priority instead.
- Where standard error is the daemon's log file, the hosting daemon keeps that below a size, and makes it anew when it
  was deleted or moved. What others write to standard error, as the interpreter does, goes there too.
- Else each line stands on standard error as it would in the file.

A message that comes again is said once and then counted. One that says `partition %s` has the field VNICD_PARTITION;
more fields are those of `extra={"fields": {...}}`.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import stat
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from queue import Full, Queue
from types import TracebackType
from typing import Any, NamedTuple

from vnicd.config import KEPT_LOGS, LOG_ASIDE
from vnicd.process import readers
from vnicd.process.repeats import Repeats
from vnicd.protocol import log_line

IDENTIFIER = "vnicd"
"""What syslog and the journal call us."""

LARGEST_FILE = 1 << 20
"""Bytes of the hosting daemon's log file, after which a new one is begun."""

LONGEST_MESSAGE = 8192
"""Characters of a message that are written, its traceback included."""

MOST_WAITING = 1000
"""Messages that are kept for a journal that does not take them."""

FLUSH_S = 2.0
"""Seconds that the end of a process waits for the journal."""

STDERR = 2

JOURNAL_VARIABLE = "JOURNAL_STREAM"
"""By this systemd tells which device and inode is its end of standard error (systemd.exec(5))."""

LIBRARIES = ("asyncio", "pyroute2")
"""Of whose messages only warnings and graver ones are said: the others are what they wait for, many times a second.
Their loggers can't be told so, as pyroute2 sets the level of its own when it is imported."""

HALF_MADE = "BaseEventLoop.__del__"

ALWAYS = "always_said"
"""What `extra` of a message has that is said however often it comes."""

_CONVERSION = re.compile(r"%[-#0 +]*[\d*]*(?:\.[\d*]+)?[a-zA-Z%]")
_OF_PARTITION = re.compile(r"partition $")


class Key(NamedTuple):
    """What makes a message the same as another, and all that is needed to say it again."""

    level: int
    text: str
    fields: tuple[tuple[str, str], ...]


def text_of(record: logging.LogRecord) -> str:
    """A message with its traceback, if it has one, and not too long."""
    text = record.getMessage()
    if record.exc_info and record.exc_info[0] is not None:
        text += "\n" + logging.Formatter().formatException(record.exc_info)
    return text[:LONGEST_MESSAGE]


def fields_of(record: logging.LogRecord) -> dict[str, str]:
    """The fields of a message, without those that all have."""
    found = dict(getattr(record, "fields", {}))
    if isinstance(record.args, tuple) and isinstance(record.msg, str):
        conversions = [each for each in _CONVERSION.finditer(record.msg) if each.group() != "%%"]
        for each, value in zip(conversions, record.args, strict=False):
            if _OF_PARTITION.search(record.msg, 0, each.start()):
                found.setdefault("VNICD_PARTITION", str(value))
    return found


class Gate(logging.Handler):
    """Lets each message through once to the handlers behind it, and says how often it came after that."""

    def __init__(self, repeats: Repeats[Key] | None = None) -> None:
        super().__init__()
        self.repeats = repeats or Repeats[Key]()
        self.behind: list[logging.Handler] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno < logging.WARNING and record.name.partition(".")[0] in LIBRARIES:
            return
        self.say_counted()
        key = Key(record.levelno, text_of(record), tuple(fields_of(record).items()))
        if getattr(record, ALWAYS, False) or self.repeats.is_new(key):
            self._pass(record)

    def say_counted(self, everything: bool = False) -> None:
        """Say what came again and is due; with `everything` also what is not."""
        with self.lock or threading.RLock():
            for key, words in self.repeats.counted(everything):
                text = f"{key.text} {words}"
                facts = {"levelno": key.level, "msg": text, "name": __name__, "fields": dict(key.fields)}
                self._pass(logging.makeLogRecord(facts))

    def _pass(self, record: logging.LogRecord) -> None:
        for handler in self.behind:
            if record.levelno >= handler.level:
                handler.handle(record)


class StandardError(logging.Handler):
    """Each line with its priority where systemd reads it, and else with its time; never raises."""

    def __init__(self, has_priority: bool) -> None:
        super().__init__()
        self.has_priority = has_priority

    def emit(self, record: logging.LogRecord) -> None:
        write(self.lines(record))

    def lines(self, record: logging.LogRecord) -> str:
        text = text_of(record)
        if self.has_priority:
            return log_line.stderr_lines(record.levelno, text)
        return log_line.file_lines(record.created, record.levelno, text)


def write(lines: str) -> None:
    with suppress(OSError):  # there is nobody, or no space, left
        os.write(STDERR, (lines + "\n").encode(errors="replace"))


class LogFile(StandardError):
    """The file at `path`, which standard output and standard error are."""

    def __init__(self, path: Path, largest: int = LARGEST_FILE) -> None:
        super().__init__(has_priority=False)
        self.path = path
        self.largest = largest
        self.is_followed = True
        """Whether it is to be there; not when the fabric goes, and all files with it."""

    def emit(self, record: logging.LogRecord) -> None:
        lines = self.lines(record)
        if self.is_followed:
            with suppress(OSError):  # then it goes on where it was
                self.look(len(lines))
        write(lines)

    def look(self, more: int = 0) -> None:
        """Begin a new file if this one is not there any more, or too large for so many bytes `more`."""
        if not is_at(STDERR, self.path):
            self._open()
        elif os.fstat(STDERR).st_size + more > self.largest:
            shift(self.path)
            self._open()

    def _open(self) -> None:
        fd = open_log(self.path)
        take_over(fd)
        os.close(fd)


class Journal(logging.Handler):
    """The journal, by the library of systemd; ImportError when it is not there.

    A thread writes: whoever logs must not wait for a journal that is stopped or overloaded. What that does not take is
    lost in the end, and counted.
    """

    def __init__(self, fields: dict[str, str]) -> None:
        super().__init__()
        from systemd.journal import send

        self.send: Callable[..., object] = send
        self.fields = {"SYSLOG_IDENTIFIER": IDENTIFIER, **fields}
        self.spare = StandardError(has_priority=True)
        self.waiting: Queue[tuple[logging.LogRecord, str, dict[str, Any]]] = Queue(MOST_WAITING)
        self.lost = 0
        self.thread: threading.Thread | None = None

    def emit(self, record: logging.LogRecord) -> None:
        about: dict[str, Any] = {**self.fields, **fields_of(record), "LOGGER": record.name}
        about["PRIORITY"] = log_line.priority(record.levelno)
        if record.pathname:
            about |= {"CODE_FILE": record.pathname, "CODE_LINE": record.lineno, "CODE_FUNC": record.funcName}
        if not self._has_writer():
            self.spare.emit(record)
            return
        try:
            self.waiting.put_nowait((record, text_of(record), about))
        except Full:
            self.lost += 1

    def _has_writer(self) -> bool:
        """Whether there is a thread that writes: one is started if it can be."""
        if self.thread is None:
            thread = threading.Thread(target=self._write, name="journal", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # too little memory, or too many processes: the next message tries again
                return False
            self.thread = thread
        return True

    def _write(self) -> None:
        while True:
            record, text, about = self.waiting.get()
            if lost := self.lost:
                self.lost = 0
                text = f"{text}\n{lost} messages before this one are lost, as the journal took none"
            try:
                self.send(text, **about)
            except (OSError, ValueError):
                self.spare.emit(record)
            self.waiting.task_done()

    def flush(self) -> None:
        """Wait a moment until all is written; when the interpreter ends, logging calls this."""
        with self.waiting.all_tasks_done:
            self.waiting.all_tasks_done.wait_for(lambda: not self.waiting.unfinished_tasks, FLUSH_S)


def is_journal(fd: int = STDERR) -> bool:
    """Whether systemd reads what is written there."""
    device, _, inode = os.environ.get(JOURNAL_VARIABLE, "").partition(":")
    try:
        facts = os.fstat(fd)
    except OSError:
        return False
    return (device, inode) == (str(facts.st_dev), str(facts.st_ino))


def is_at(fd: int, path: Path) -> bool:
    """Whether a descriptor is of the file that has this path."""
    try:
        return os.path.samestat(os.fstat(fd), path.lstat())
    except OSError:
        return False


def open_log(path: Path) -> int:
    """A descriptor of a log file, made if there is none, which reads, and writes at its end wherever that is.

    What has its name and is no file, such as a link or a pipe, is moved aside: what is behind it is not ours.
    """
    path.parent.mkdir(mode=0o755, exist_ok=True)
    with suppress(FileNotFoundError):
        if not stat.S_ISREG(path.lstat().st_mode):
            path.replace(path.with_name(f"{path.name}{LOG_ASIDE}"))
    fd = open_file(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
    try:
        readers.open_file(fd)
    except BaseException:
        os.close(fd)
        raise
    return fd


def open_file(path: Path, flags: int) -> int:
    """A descriptor of a file that is no link and no pipe, for which one could wait for ever; else OSError."""
    fd = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, readers.MODE)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "it is not a file", str(path))
    os.set_blocking(fd, True)
    return fd


def take_over(fd: int) -> None:
    """Have standard output and standard error be this file; the descriptor stays the caller's."""
    for standard in (1, STDERR):
        os.dup2(fd, standard)


def shift(path: Path, keep: bool = False) -> None:
    """Make a log file the youngest of the old ones, or with `keep` only make room for it there; the oldest goes."""
    for age in range(KEPT_LOGS, 1 if keep else 0, -1):
        younger = path.with_name(f"{path.name}.{age - 1}") if age > 1 else path
        with suppress(FileNotFoundError):
            younger.replace(path.with_name(f"{path.name}.{age}"))


_gate = Gate()
_file: LogFile | None = None


def begin(level: str, fields: dict[str, str], file: Path | None = None, small: bool = False) -> None:
    """Log from now on. `file` is the daemon's log file, if it has to look after it; one that is `small` has no journal.

    `fields` are those that all its messages have in the journal.
    """
    global _file
    handler = _handler(fields, file, small)
    _file = handler if isinstance(handler, LogFile) else None
    _gate.behind = [handler]
    root = logging.getLogger()
    root.handlers = [_gate]
    logging.addLevelName(log_line.NOTICE, "NOTICE")
    set_level(level)
    sys.excepthook = _last_words
    sys.unraisablehook = _aside
    threading.excepthook = lambda args: _last_words(args.exc_type, args.exc_value, args.exc_traceback)


def _handler(fields: dict[str, str], file: Path | None, small: bool) -> logging.Handler:
    if not is_journal():
        if file is None or not is_at(STDERR, file):
            return StandardError(False)
        with suppress(OSError):  # it may be somebody else's
            readers.open_file(STDERR)
        return LogFile(file)
    if not small:
        with suppress(ImportError):
            return Journal(fields)
    return StandardError(True)


def set_level(level: str) -> None:
    """The least level of log_line.LEVELS that is said; changes that somebody asked for are said at each."""
    logging.getLogger().setLevel(log_line.LEVELS[level])


def known_level(level: str, otherwise: str) -> str:
    """A level that somebody has named, if it is one."""
    return level if level in log_line.LEVELS else otherwise


def add(handler: logging.Handler) -> None:
    """Give it what is logged, too, but for what is said however often it comes."""
    handler.addFilter(lambda record: not getattr(record, ALWAYS, False))
    _gate.behind.append(handler)


def look() -> None:
    """Say what was counted and is due, and begin a log file anew that was deleted or moved; from time to time."""
    _gate.say_counted()
    if _file is not None and _file.is_followed:
        with suppress(OSError):
            _file.look()


def leave_files() -> None:
    """Make no log file from now on: the fabric goes, with all that it has."""
    if _file is not None:
        _file.is_followed = False


def end() -> None:
    """Say what was counted; nothing more comes."""
    _gate.say_counted(everything=True)
    for handler in _gate.behind:
        handler.flush()


def last_word(text: str) -> None:
    """Why this process can't go on, which whoever has started it is to see."""
    if _gate.behind and not _is_plain():
        logging.getLogger(__name__).error("%s", text)
        return
    with suppress(OSError):
        print(f"{IDENTIFIER}: {text}", file=sys.stderr, flush=True)


def _is_plain() -> bool:
    """Whether somebody may look at standard error who wants no times."""
    handler = _gate.behind[0]
    return type(handler) is StandardError and not handler.has_priority


def _last_words(
    kind: type[BaseException], error: BaseException | None, traceback: TracebackType | None
) -> None:
    """What ends the interpreter, or a thread, is said as everything is."""
    if error is None or issubclass(kind, KeyboardInterrupt):
        return
    logging.getLogger(__name__).critical("%s", _shown(error), exc_info=(kind, error, traceback))


def _aside(args: Any) -> None:
    """What goes wrong while the interpreter tidies up ends nothing, and is one line.

    Nothing is said of an event loop that could not be made. A library makes one for each of its calls, and without
    descriptors it can't; the caller is told so.
    """
    name = getattr(args.object, "__qualname__", "a finalizer")
    if args.exc_value is not None and not (name == HALF_MADE and isinstance(args.exc_value, AttributeError)):
        logging.getLogger(__name__).warning("%s, in %s", _shown(args.exc_value), name)


def _shown(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
