"""Direct connections told from the stream regions and pages that were found in programs: pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from vnicd.sockets import abi
from vnicd.sockets.abi import CLOSED, FIN, RESET, WORDS, Address, Process, Reason, StreamRegion

Json = dict[str, Any]

NONE: Mapping[str, str] = {}


@dataclass(frozen=True)
class Own:
    """A stream region that a program has made, or has from its parent."""

    inode: int
    partition: str
    pids: tuple[int, ...]
    region: StreamRegion


@dataclass(frozen=True)
class Told:
    """The page of a program."""

    partition: str
    pid: int
    page: Process


class _Key(NamedTuple):
    client: Address
    server: Address
    place: str
    """The partition, for addresses that every partition has."""


def pair(found: Iterable[Own], containers: Mapping[str, str] = NONE) -> list[Json]:
    """The connections, those of a listener together; one whose other end was not found lacks it.

    `containers` has the names of those that partitions belong to, by the partition.
    """
    ends: dict[_Key, tuple[list[Own], list[Own]]] = defaultdict(lambda: ([], []))
    for own in sorted(found, key=lambda own: own.inode):
        region = own.region
        client, server = (region.remote, region.local) if region.accepted else (region.local, region.remote)
        place = own.partition if client.is_loopback or server.is_loopback else ""
        ends[_Key(client, server, place)][region.accepted].append(own)
    rows = []
    for key in sorted(ends, key=lambda key: (key.place, key.server, key.client)):
        clients, servers = ends[key]
        for index in range(max(len(clients), len(servers))):
            client_own = clients[index] if index < len(clients) else None
            server_own = servers[index] if index < len(servers) else None
            rows.append(_connection(key, client_own, server_own, containers))
    return rows


def _connection(key: _Key, client: Own | None, server: Own | None, containers: Mapping[str, str]) -> Json:
    return {
        "client": _end(key.client, client, containers),
        "server": _end(key.server, server, containers),
        "state": _state(client, server),
    }


def _end(address: Address, own: Own | None, containers: Mapping[str, str]) -> Json:
    region = own.region if own else None
    return {
        "address": address.text if address.ip else None,
        "port": address.port,
        "partition": own.partition if own else None,
        "container": containers.get(own.partition) if own else None,
        "pids": list(own.pids) if own else [],
        "program": region.program if region else None,
        "sent": region.head if region else None,
        "wakeups": region.wakeups if region else None,
    }


def _state(client: Own | None, server: Own | None) -> str:
    bits = [own.region.state if own else None for own in (client, server)]
    known = [each for each in bits if each is not None]
    if any(each & RESET for each in known):
        return "reset"
    if all(each & (CLOSED | FIN) for each in known):
        return "closed"
    if None in bits:
        return "offered" if server is None and client and not client.region.tail else "half-known"
    return "closing" if any(each & (CLOSED | FIN) for each in known) else "up"


def processes(found: Iterable[Told], now_ns: int, containers: Mapping[str, str] = NONE) -> list[Json]:
    """What each program has decided, and the latest of its connections that are not direct, the last first."""
    return [
        {
            "pid": told.pid,
            "program": told.page.program,
            "partition": told.partition,
            "container": containers.get(told.partition),
            "decided": told.page.decided,
            "recent": [
                {
                    "target": str(each.target) if each.target.ip else None,
                    "why": abi.reason_word(each.reason),
                    "reason": WORDS.get(Reason(each.reason), "")
                    if each.reason in WORDS
                    else "a reason of a later version",
                    "ago_s": round(max(0, now_ns - each.when_ns) / 1e9, 1),
                }
                for each in reversed(told.page.recent)
                if each.reason != Reason.DIRECT
            ],
        }
        for told in sorted(found, key=lambda told: (told.partition, told.pid))
    ]
