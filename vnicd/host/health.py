"""What is wrong with the fabric right now, in words: for `vnicctl doctor`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vnicd.errors import VnicdError
from vnicd.host.fabric import Fabric
from vnicd.host.partitions import kernel_ops
from vnicd.host.ports.port import Port, PortState
from vnicd.kernel import process

Finding = dict[str, Any]


async def examine(fabric: Fabric) -> list[Finding]:
    """A finding for each partition that is not as it should be, and of the uplink; none when all is well."""
    ports = list(fabric.ports)
    down = await fabric.actions.kernel(lambda: {port.number for port in ports if _is_down(port)})
    found = [
        {"name": "partition", "status": "warn", "detail": f"{port.spec.name} {detail}", "remedy": remedy}
        for port in ports
        for detail, remedy in _complaints(port, port.number in down)
    ]
    return found + [
        {"name": "uplink", "status": "warn", "detail": detail, "remedy": remedy}
        for detail, remedy in _uplink_complaints(fabric)
    ]


def _uplink_complaints(fabric: Fabric) -> Iterator[tuple[str, str]]:
    """What others do to it. How its NIC is vnicctl asks by itself."""
    uplink = fabric.uplink
    for each in uplink.resources.blockers:
        yield f"{each}, so partitions can't reach the outside", each.remedy(uplink.resources.ifname)
    if fought := uplink.repairs.fought:
        remedy = "find the program that does it, and let it leave that alone"
        yield f"another program keeps taking away what the uplink needs: {fought}", remedy


def _complaints(port: Port, interface_down: bool) -> list[tuple[str, str]]:
    name = port.spec.name
    if not port.is_member:
        return []
    if port.state is PortState.FAILED:
        return [(f"can't be brought back: {port.reason}", f"mend that, or: vnicctl partition remove {name}")]
    if port.state is not PortState.UP:
        return [(f"is {port.state.value}", "wait a moment; if it stays so, look at its log")]
    if process.is_stopped(port.pid):
        return [(f"does not move: its daemon, pid {port.pid}, is stopped", f"kill -CONT {port.pid}")]
    if interface_down:
        where = f"ip netns exec {name} " if port.spec.owns_netns else ""
        return [
            (f"has its interface {port.spec.ifname} set down", f"{where}ip link set {port.spec.ifname} up")
        ]
    return []


def _is_down(port: Port) -> bool:
    try:
        return port.state is PortState.UP and not kernel_ops.is_up(port.location)
    except (VnicdError, OSError):
        return False  # the namespace is gone, which the reconciler is about to mend
