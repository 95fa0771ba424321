"""Whether the loops go on: those that leave frames waiting for seconds are named by `vnicctl doctor`."""

from __future__ import annotations

import os
import select
from collections import Counter

from vnicd.host.links.relay import HostRelay
from vnicd.host.ports.port import Port, Ports, PortState
from vnicd.native import counters

LOOKS = 2
"""Looks in a row, a tick apart, that have to find the same before a loop is said to hang."""


class Progress:
    """look() is to be called at each tick."""

    def __init__(self, ports: Ports, relay: HostRelay) -> None:
        self.ports = ports
        self.relay = relay
        self.rounds: dict[int, int] = {}
        """Of the loops of partition daemons, at the last look, by the daemon's process."""
        self.hangs: Counter[int] = Counter()
        """Looks in a row that have found a loop without progress, by process."""

    def look(self) -> None:
        hangs, rounds = Counter[int](), {}
        if not self.relay.loop.is_moving():
            hangs[os.getpid()] = self.hangs[os.getpid()] + 1
        for port in self.ports:
            if port.state is not PortState.UP or port.tap < 0:
                continue
            rounds[port.pid] = counters.port(port.counters)["rounds"]
            if rounds[port.pid] == self.rounds.get(port.pid) and _waits(port):
                hangs[port.pid] = self.hangs[port.pid] + 1
        self.rounds, self.hangs = rounds, hangs

    @property
    def host_moves(self) -> bool:
        return self.hangs[os.getpid()] < LOOKS

    def moves(self, port: Port) -> bool:
        return self.hangs[port.pid] < LOOKS


def _waits(port: Port) -> bool:
    """Whether the partition has sent frames that its daemon has not read: the TAP is readable, for us as well."""
    poller = select.poll()
    poller.register(port.tap, select.POLLIN)
    return any(events & select.POLLIN for _, events in poller.poll(0))
