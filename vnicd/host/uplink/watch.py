"""When to look at the machine again: news of interfaces, addresses, forwarding and rules, and a slow look besides."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress

from vnicd.kernel import link_events
from vnicd.kernel.firewall import rule_events
from vnicd.kernel.nic import Facts

SETTLE_S = 0.05
"""News are gathered for so long before they are looked at together."""

OTHERS_S = 1.0
"""The same for rules that are not ours: some programs change theirs all the time."""

GLANCE_S = 0.3
"""Between two looks at the NIC's carrier."""

LOOK_S = 10.0
"""Between two looks at everything, in case news of something were lost, or nobody tells it."""


class Watch:
    """Calls `look()` some time after there was news.

    `pause()` tells for how many seconds news are only gathered, as somebody undoes what each look has led to.
    `rules_lost()` is called at once when something of our own `table` was taken away.
    """

    def __init__(
        self,
        table: str,
        look: Callable[[], None],
        rules_lost: Callable[[], None],
        pause: Callable[[], float],
    ) -> None:
        self.table = table
        self.look = look
        self.rules_lost = rules_lost
        self.pause = pause
        self.nic: Facts | None = None
        """As it was found last."""
        self.links: socket.socket | None = None
        self.rules: socket.socket | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.glance: asyncio.TimerHandle | None = None
        self.slow: asyncio.TimerHandle | None = None

    def open(self) -> None:
        """Listen, if that is not so yet."""
        if self.links is not None:
            return
        loop = asyncio.get_running_loop()
        self.links = link_events.open_watch()
        loop.add_reader(self.links, self._hear_of_links)
        with suppress(OSError):  # a kernel without nftables: there are no rules to lose
            self.rules = rule_events.open_watch()
            loop.add_reader(self.rules, self._hear_of_rules)
        self.soon(0)  # what happened before we listened
        self._glance()
        self._look_slowly()

    def close(self) -> None:
        for timer in (self.timer, self.glance, self.slow):
            if timer is not None:
                timer.cancel()
        self.timer = self.glance = self.slow = None
        for sock in (self.links, self.rules):
            if sock is not None:
                asyncio.get_running_loop().remove_reader(sock)
                sock.close()
        self.links = self.rules = None

    def soon(self, delay: float) -> None:
        """Look in `delay` seconds at the latest."""
        if self.links is None:
            return
        loop = asyncio.get_running_loop()
        if self.timer is not None:
            if self.timer.when() <= loop.time() + delay:
                return
            self.timer.cancel()
        self.timer = loop.call_later(delay, self._due)

    def _due(self) -> None:
        self.timer = None
        self.look()

    def _glance(self) -> None:
        """Look for the cable, of which the kernel's news may be late."""
        self.glance = asyncio.get_running_loop().call_later(GLANCE_S, self._glance)
        facts = self.nic
        with suppress(OSError):  # there is no descriptor to ask with just now
            if facts is not None and facts.up and link_events.has_link(facts.name) != facts.carrier:
                self.soon(0)

    def _look_slowly(self) -> None:
        self.slow = asyncio.get_running_loop().call_later(LOOK_S, self._look_slowly)
        self.soon(0)

    def _hear_of_links(self) -> None:
        if self.links is not None and link_events.drain(self.links):
            self.soon(max(SETTLE_S, self.pause()))

    def _hear_of_rules(self) -> None:
        if self.rules is None:
            return
        news = rule_events.drain(self.rules, self.table)
        if news.lost:
            self.rules_lost()
        if news.ours:
            self.soon(max(SETTLE_S, self.pause()))
        elif news.others:
            self.soon(max(OTHERS_S, self.pause()))
