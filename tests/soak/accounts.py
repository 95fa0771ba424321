"""Counters that must add up: what was sent was received, or dropped for a reason.

Of each partition, by its own daemon's counters and those of the others:

    frames from its interface  =  frames sent to each peer  +  dropped on the way out
    frames to its interface  =  sent directly by each peer  +  sent by the hosting daemon  -  dropped on arrival
                                -  left unread in a link that its reader gave up, which the sender counts

and of the relay, while there is no uplink and nobody comes or goes (a broadcast is one frame in, one to each other):

    relayed unicast  +  broadcasts * (partitions - 1)  =  sent by the hosting daemon  +  dropped by it

All are exact between two moments of rest. When a daemon was killed in between, what was in its hands is missing.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from tests.framework.fabric.fabric import Fabric
from tests.framework.waiting import wait_until

ON_ARRIVAL = {"not_mine", "tap_down", "tap_refused", "tap_full"}
"""Drops that a partition counts for what it gets; but for UNREAD it counts all others for what it sends."""

UNREAD = "unread"
"""What was sent and then lost: its sender has counted it as sent before."""

REST = 0.3
"""Seconds without a change that are rest: a frame may wait for 0.2 s for the one before it."""

Counters = dict[str, int]


@dataclass(frozen=True)
class Snapshot:
    """All that is compared, at one moment of rest."""

    values: dict[tuple[str, str], int]
    """(partition or "host", what): number."""
    names: tuple[str, ...]

    @classmethod
    def now(cls, fabric: Fabric) -> Snapshot:
        values: dict[tuple[str, str], int] = {}
        ports = fabric.call("stats")["ports"]
        names = tuple(port["name"] for port in ports if port["name"] != "host")
        for port in ports:
            _add_port(values, port)
        for link in fabric.call("links")["links"]:
            for way in link["directions"]:
                _add_direction(values, way)
        return cls(values, names)

    @classmethod
    def at_rest(cls, fabric: Fabric, timeout: float = 5) -> Snapshot:
        """Taken once nothing has moved for a while: nothing is in flight then."""
        found, since = cls.now(fabric), time.monotonic()

        def still() -> bool:
            nonlocal found, since
            last, found = found, cls.now(fabric)
            if found != last:
                since = time.monotonic()
            return time.monotonic() - since > REST

        wait_until(still, timeout, "the counters rest")
        return found

    def since(self, before: Snapshot) -> Counters:
        """How much is missing in each account since then; 0 where it adds up, below 0 where something is too much."""
        assert self.names == before.names, "accounts are of the same partitions"
        delta = {key: value - before.values.get(key, 0) for key, value in self.values.items()}

        def of(name: str, what: str) -> int:
            return delta.get((name, what), 0)

        found = {}
        for name in self.names:
            found[f"{name} sends"] = of(name, "tap_rx") - of(name, "tx") - of(name, "dropped out")
            came = of(name, "direct in") + of(name, "host in") - of(name, "dropped in")
            found[f"{name} gets"] = came - of(name, "tap_tx")
        broadcasts = sum(of(name, "to host") for name in self.names)
        relayed = sum(of(name, "relayed") for name in self.names) + broadcasts * (len(self.names) - 1)
        sent_on = sum(of(name, "host in") for name in self.names)
        lost = of("host", "dropped out") + of("host", "dropped in") + of("host", "unread")
        found["relay"] = relayed - sent_on - lost
        return found


def _add_port(values: dict[tuple[str, str], int], port: dict[str, Any]) -> None:
    name = port["name"]
    values[name, "tap_rx"] = port["counters"]["tap_rx_frames"]
    values[name, "tap_tx"] = port["counters"]["tap_tx_frames"]
    arrival = sum(count for reason, count in port["drops"].items() if reason in ON_ARRIVAL)
    values[name, "dropped in"] = arrival
    values[name, "dropped out"] = sum(port["drops"].values()) - arrival - port["drops"].get(UNREAD, 0)


def _add_direction(values: dict[tuple[str, str], int], way: dict[str, Any]) -> None:
    sender, receiver = way["from"], way["to"]

    def add(name: str, what: str, n: int) -> None:
        values[name, what] = values.get((name, what), 0) + n

    unread = way["drops"].get(UNREAD, 0)
    if sender == "host":
        add(receiver, "host in", way["frames"] - unread)
        add(sender, "unread", unread)
        return
    add(sender, "tx", way["frames"])
    if receiver == "host":
        add(sender, "to host", way["frames"])
    else:
        add(sender, "relayed", way["relayed"])
        add(receiver, "direct in", way["frames"] - way["relayed"] - unread)
