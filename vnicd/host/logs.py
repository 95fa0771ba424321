"""`vnicd logs NAME`: where a daemon of the fabric logs, whether any daemon lives or not."""

from __future__ import annotations

from typing import Any

from vnicd.config import Paths, service_of, start_command
from vnicd.errors import NotFound, NotRunning
from vnicd.host.partitions import leftovers
from vnicd.host.partitions.systemd_units import host_units, unit_name, unit_of
from vnicd.host.ports import state_file

HOST = "host"


def document(paths: Paths, name: str) -> dict[str, Any]:
    """The log of a daemon: NotFound when there is neither such a daemon nor its log, NotRunning without a fabric.

    Blocking.

    `unit` is the systemd unit whose journal it is in, or empty: then it is in `files`, the oldest first. Both can be
    there, when a fabric of files has become that of a service.
    """
    unit = _host_unit(paths) if name == HOST else _partition_unit(paths, name)
    files = paths.log_files(name)
    if not unit and not files:
        if not paths.state.exists() and not leftovers.hosts(paths.root):
            hint = f"start one with: {start_command(paths.root)}"
            raise NotRunning(f"there is no fabric at {paths.root}", hint)
        raise NotFound(f"there is no log of {name}", "list the partitions with: vnicctl partition list")
    return {"daemon": name, "unit": unit, "files": [str(path) for path in files]}


def _host_unit(paths: Paths) -> str:
    """That of the hosting daemon that runs; without one, of the service that would be it."""
    running = [unit_of(daemon.pid) for daemon in leftovers.hosts(paths.root)]
    if running:
        service = host_units(paths.network)[-1]
        return service if service in running else ""
    return "" if paths.log_files(HOST) else service_of(paths.root)


def _partition_unit(paths: Paths, name: str) -> str:
    is_known = any(saved.spec.name == name for saved in state_file.load(paths.state)[0])
    return unit_name(name, paths.network) if is_known and state_file.has_units(paths.state) else ""
