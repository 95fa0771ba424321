"""What one partition daemon may take of the hosting daemon: time, and descriptors that are closed for it.

It is the partition's, so neither a new connection nor a new process gives anything anew: a daemon under systemd may
fork, and each of its processes may register.
"""

from __future__ import annotations

from vnicd.process.fd_reaper import FdReaper

SHARE = 0.1
"""Part of the event loop's time that one partition daemon's messages may take, over the time of its credit."""

CREDIT_S = 0.1
"""Seconds of that time which a daemon may use at once: a hello with 255 links takes some 10 ms."""

MOST_UNCLOSED = 512
"""Descriptors that wait to be closed; with more, no connection of the daemon's goes on."""


class Allowance:
    """`now` is the time of the event loop."""

    def __init__(self, now: float) -> None:
        self.reaper = FdReaper()
        self.credit, self.credited_at = CREDIT_S, now

    @property
    def is_overdrawn(self) -> bool:
        """Whether it has sent more descriptors than there can be closed."""
        return self.reaper.fill > MOST_UNCLOSED

    def pay(self, spent: float, now: float) -> float:
        """Take this time from its credit; the seconds for which nothing more of it is to be read."""
        self.credit = min(CREDIT_S, self.credit + SHARE * (now - self.credited_at)) - spent
        self.credited_at = now
        return max(0.0, -self.credit / SHARE)

    def renew(self) -> None:
        """The daemon has ended: what can't be closed of it, if that is much, is not to end its successor."""
        if self.is_overdrawn:
            self.reaper = FdReaper()
