"""The log files of partition daemons that are our children: kept below a size, and made anew when they are gone.

A partition daemon can open no file, so each is handed its log as a descriptor: when it registers, and again when the
file was deleted or moved. A full one is copied and emptied, not moved: a hostile daemon that kept files which have no
name any more could fill memory with them. How much it writes between two looks is bounded by its limit of a file's
size (privileges.py). Units log to the journal, and have none.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress

from vnicd.config import Paths
from vnicd.host.ports.port import Port, Ports
from vnicd.process import logs

LARGEST = 256 << 10
"""Bytes of a log file, after which it is emptied; as many of its end are kept as an old one."""

EMPTIED_AT_ONCE = 8
"""Files that are emptied in one look: the event loop waits for it."""

Identity = tuple[int, int]


class LogFiles:
    def __init__(self, paths: Paths, ports: Ports, are_units: bool) -> None:
        self.paths = paths
        self.ports = ports
        self.are_units = are_units
        self.handed: dict[str, Identity] = {}
        """{partition: device and inode of the file that its daemon has}."""

    def hand(self, port: Port) -> None:
        """Hand a daemon that has registered its log."""
        if self.are_units or port.channel is None:
            return
        with suppress(OSError):  # it goes on with the one that it has
            fd = logs.open_log(self.paths.log(port.spec.name))
            try:
                port.channel.send({"op": "log"}, [fd])
                self.handed[port.spec.name] = _identity(os.fstat(fd))
            finally:
                os.close(fd)

    def look(self) -> None:
        """Empty what is too large, and hand out anew what is gone."""
        emptied = 0
        for port in self.ports if not self.are_units else ():
            name = port.spec.name
            try:
                facts = self.paths.log(name).lstat()
            except OSError:
                self.hand(port)
                continue
            handed, is_file = self.handed.get(name), stat.S_ISREG(facts.st_mode)
            if not is_file or (handed != _identity(facts) and port.channel is not None):
                self.hand(port)
            elif handed in (None, _identity(facts)) and facts.st_size > LARGEST and emptied < EMPTIED_AT_ONCE:
                emptied += 1
                with suppress(OSError):
                    self._empty(name)

    def forget(self, name: str) -> None:
        """The partition is no more, and so is its log."""
        self.handed.pop(name, None)
        for path in self.paths.log_files(name):
            path.unlink(missing_ok=True)

    def _empty(self, name: str) -> None:
        path = self.paths.log(name)
        with os.fdopen(logs.open_file(path, os.O_RDWR), "r+b") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - LARGEST))
            end = log.read(LARGEST)
            logs.shift(path, keep=True)
            with os.fdopen(logs.open_log(path.with_name(f"{path.name}.1")), "wb") as old:
                old.write(end)
            log.truncate(0)


def _identity(facts: os.stat_result) -> Identity:
    return facts.st_dev, facts.st_ino
