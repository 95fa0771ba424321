"""What is wrong with the fabric right now, in words: for `vnicctl doctor`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from typing import Any

from vnicd.host.broker.broker import ELSEWHERE
from vnicd.host.fabric import Fabric
from vnicd.host.ports.port import STOPPED, Port, PortState
from vnicd.kernel import netns
from vnicd.kernel.limits import descriptors

Finding = dict[str, Any]

MANY = 65536
"""Descriptors that suffice for every daemon."""

WARN, FAIL = "warn", "fail"
"""It works, but not as it was declared; it does not work."""


async def examine(fabric: Fabric) -> list[Finding]:
    """A finding for each thing that is not as it should be; none when all is well."""
    await fabric.drift.refresh()
    pids = {os.getpid(): ""} | {port.pid: port.spec.name for port in fabric.ports if port.pid}
    # A machine with containers has thousands of mounts, and to read them all takes a tenth of a second.
    seen = await asyncio.to_thread(lambda: [*_near_their_limit(pids), *_hidden_names()])
    ports = [found for port in fabric.ports for found in _of_port(fabric, port)]
    refused = fabric.broker_service.broker.refused
    shared = {where for where, (_, reason) in refused.items() if reason == ELSEWHERE}
    of_sockets = [*_of_sockets(fabric), *fabric.names.findings(shared)]
    return [*_of_host(fabric), *ports, *seen, *_of_uplink(fabric), *of_sockets]


def _hidden_names() -> Iterator[Finding]:
    """Reads the tables of mounts."""
    if netns.names_are_hidden():
        detail = (
            "the hosting daemon has mounts of its own: others can't enter namespaces that it makes by name"
        )
        remedy = (
            "vnicctl down, and start it from a shell of the machine's, or by: nsenter --net=PATH vnicctl up"
        )
        yield _finding("fabric", WARN, detail, remedy)


def _near_their_limit(pids: dict[int, str]) -> list[Finding]:
    """The daemons that soon can't have more descriptors, of these by PID; no name is the host. Reads /proc."""
    found = []
    for pid, name in pids.items():
        who = f"the daemon of partition {name}" if name else "the hosting daemon"
        usage = descriptors.usage(pid)
        if usage is not None and usage.is_near:
            detail = (
                f"{who}, pid {pid}, has {usage.used} of at most {usage.limit} files open: new things may fail"
            )
            more = f"prlimit --pid {pid} --nofile={MANY}"
            # Root may be without CAP_SYS_RESOURCE, as in containers.
            remedy = f"vnicctl partition restart {name}; or more for it: {more}" if name else more
            found.append(_finding("descriptors", WARN, detail, remedy))
    return found


def _of_uplink(fabric: Fabric) -> Iterator[Finding]:
    """What others do to it. How its NIC is vnicctl asks by itself."""
    uplink = fabric.uplink
    for each in uplink.resources.blockers:
        detail = f"{each}, so partitions can't reach the outside"
        yield _finding("uplink", FAIL, detail, each.remedy(uplink.resources.ifname))
    if fought := uplink.repairs.fought:
        detail = f"another program keeps taking away what the uplink needs: {fought}"
        yield _finding("uplink", WARN, detail, "find the program that does it, and let it leave that alone")


def _of_sockets(fabric: Fabric) -> Iterator[Finding]:
    """Partitions whose namespace has the broker of another network, or something that is called so."""
    for number, reason in fabric.broker_service.broker.refused.values():
        port = fabric.ports.by_number.get(number)
        if port is not None:
            detail = f"{port.spec.name} has no direct sockets in this network: {reason}"
            yield _finding(
                "sockets", "ok" if reason == ELSEWHERE else WARN, detail, "see the hosting daemon's log"
            )


def _of_host(fabric: Fabric) -> Iterator[Finding]:
    if not fabric.progress.host_moves:
        detail = "the hosting daemon's datapath makes no progress although frames wait"
        yield _finding("fabric", FAIL, detail, "restart it: kill it, and vnicctl up; report it as a fault")
    if fabric.save_error is not None:
        detail = f"nothing can be changed: {fabric.save_error.message}"
        yield _finding(
            "fabric", FAIL, detail, f"make room in {fabric.paths.root}, or mend what is in the way"
        )


def _of_port(fabric: Fabric, port: Port) -> Iterator[Finding]:
    name = port.spec.name
    if not port.is_member:
        return
    if port.state is PortState.FAILED:
        remedy = f"mend that, or: vnicctl partition remove {name}"
        yield _of(port, FAIL, f"can't be brought back: {port.reason}", remedy)
    elif port.shown_state == STOPPED:
        detail = f"does not move: its daemon, pid {port.pid}, is stopped"
        yield _of(port, FAIL, detail, f"kill -CONT {port.pid}")
    elif port.state is not PortState.UP:
        yield _of(port, WARN, f"is {port.state.value}", "wait a moment; if it stays so, look at its log")
    elif not fabric.progress.moves(port):
        detail = f"does not move: its daemon, pid {port.pid}, leaves frames waiting"
        yield _of(port, FAIL, detail, f"have it started anew: kill -9 {port.pid}")
    for each in port.drift:
        yield _of(port, FAIL if each.is_fatal else WARN, each.text, each.remedy)
    if times := fabric.drift.fought_over(port):
        detail = f"has something changed again and again: it was put back {times} times"
        yield _of(port, WARN, detail, "find out what changes it; the hosting daemon's log says what it is")


def _of(port: Port, status: str, detail: str, remedy: str) -> Finding:
    return _finding("partition", status, f"{port.spec.name} {detail}", remedy)


def _finding(name: str, status: str, detail: str, remedy: str) -> Finding:
    return {"name": name, "status": status, "detail": detail, "remedy": remedy}
