"""vnicctl doctor: what the machine offers, and how to mend what it lacks."""

from __future__ import annotations

import os
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

import click

from vnicd.cli import output, process
from vnicd.cli.client import call
from vnicd.cli.params import json_option
from vnicd.config import Paths, start_command
from vnicd.errors import NotPermitted, NotRunning, TimedOut, VnicdError, doctor_exit_code
from vnicd.protocol.control import Client

FABRIC_TIMEOUT = 2.0
"""Seconds that a fabric has to tell how it is."""

UPLINK_TIMEOUT = 2.0
"""Seconds that a fabric has to tell of its uplink."""

REMEDIES = {
    "no-carrier": "look at the cable of {nic}, and at what is at its other end",
    "down": "ip link set {nic} up",
    "absent": "it is used again when it is back; if it does not come: vnicctl uplink clear",
}
"""By the state of an uplink that nothing passes."""

AS_ROOT = "run it as root: sudo vnicctl doctor"

OTHER_REMEDY = "see host.log in the log directory of the fabric, and set the uplink again"


@click.command()
@json_option
@click.pass_context
def doctor(context: click.Context, as_json: bool) -> None:
    """Check the machine and the fabric, and suggest remedies.

    Exits with 0 when all is well, with 1 when it warns or could not look at
    everything, and with 2 when something does not work.

    \b
    Examples:
      vnicctl doctor
      vnicctl doctor --json | jq '.checks[] | select(.status != "ok")'
    """
    data = {
        "checks": [*process.findings("check", "--json"), *_fabric(), *_leftovers(), *_uplink(), *_networks()]
    }
    output.emit(data, as_json, _show)
    context.exit(doctor_exit_code(check["status"] for check in data["checks"]))


def _fabric() -> list[dict[str, Any]]:
    """What is wrong with the fabric, if one is up or was."""
    paths = Paths.from_environment()
    try:
        found: list[dict[str, Any]] = call("fabric.check", timeout=FABRIC_TIMEOUT)["checks"]
        return found
    except NotRunning:
        if not paths.state.exists():
            return []
        remedy = start_command(paths.root)
        detail = "the hosting daemon is dead; its partitions wait for it"
    except TimedOut:
        if pid := _host_pid(paths):
            detail = f"the hosting daemon, pid {pid}, does not answer"
            remedy = f"if it was stopped: kill -CONT {pid}; else: kill -9 {pid}, and then vnicctl up"
        else:
            detail, remedy = "no hosting daemon takes its clients in", "systemctl status vnicd"
    except NotPermitted as error:
        return [_finding("fabric", "skip", error.message, error.hint)]
    except VnicdError as error:
        detail, remedy = error.message, error.hint
    return [_finding("fabric", "fail", detail, remedy)]


def _leftovers() -> list[dict[str, Any]]:
    """What the fabric has made and forgotten."""
    if os.geteuid() != 0:
        return [_finding("orphan", "skip", "only root can see what is left of earlier fabrics", AS_ROOT)]
    return process.findings("orphans")


def _finding(name: str, status: str, detail: str, remedy: str | None) -> dict[str, Any]:
    return {"name": name, "status": status, "detail": detail, "remedy": remedy}


def _host_pid(paths: Paths) -> str:
    """The process that has written itself down as the hosting daemon; empty when another may have its number now."""
    try:
        pid = paths.host_lock.read_text()
        return pid if b"vnicd" in Path(f"/proc/{int(pid)}/cmdline").read_bytes() else ""
    except (OSError, ValueError):
        return ""


def _uplink() -> list[dict[str, Any]]:
    """What is to be said of the uplink, if a fabric is up and has one."""
    try:
        uplink = call("uplink.show", timeout=UPLINK_TIMEOUT)["uplink"]
    except VnicdError:
        return []
    if uplink is None:
        return []
    nic, state = uplink["nic"], uplink["state"]
    detail, remedy = f"{nic} is the uplink ({uplink['mode']})", None
    if not nic:
        nic, detail = "the machine's side", f"the machine itself is in the fabric, as {uplink['ifname']}"
    status = "ok"
    if state != "up":
        status = "fail"
        detail = f"{nic}: {uplink['reason'] or state}"
        remedy = REMEDIES.get(state, OTHER_REMEDY).format(nic=nic)
    elif uplink["default_route"]:
        status = "warn"
        detail = f"{nic} carries this machine's default route, and partitions share it"
        remedy = "keep another way in; if it is not meant: vnicctl uplink clear"
    return [_finding("uplink", status, detail, remedy), *_published(uplink), *_without_address(uplink)]


def _networks() -> list[dict[str, Any]]:
    """The other networks, beside the default one: whether they are up, and where to look when one has something."""
    paths = Paths.from_environment()
    return [_network(paths.of_network(name)) for name in paths.network_names() if not paths.network]


def _network(paths: Paths) -> dict[str, Any]:
    name, look = paths.network, f"vnicctl --network {paths.network} doctor"
    try:
        checks = Client(paths.control).call("fabric.check", timeout=FABRIC_TIMEOUT)["checks"]
        there = len(Client(paths.control).call("partition.list", timeout=FABRIC_TIMEOUT)["partitions"])
    except NotRunning:
        if paths.state.exists():
            detail = f"the hosting daemon of network {name} is dead; its partitions wait for it"
            return _finding("network", "fail", detail, start_command(paths.root))
        return _finding("network", "warn", f"network {name} is down", start_command(paths.root))
    except NotPermitted as error:
        return _finding("network", "skip", error.message, error.hint)
    except (VnicdError, OSError, ValueError, KeyError, TypeError) as error:
        return _finding("network", "fail", f"network {name}: {error}", look)
    wrong = [each for each in checks if each["status"] != "ok"]
    if wrong:
        worst = "fail" if any(each["status"] == "fail" for each in wrong) else "warn"
        return _finding("network", worst, f"network {name}: {wrong[0]['detail']}", look)
    what = "partition" if there == 1 else "partitions"
    return _finding("network", "ok", f"network {name} is up, with {there} {what}", None)


def _published(uplink: dict[str, Any]) -> list[dict[str, Any]]:
    """Published ports that lead nowhere."""
    try:
        ports = call("publish.list", timeout=UPLINK_TIMEOUT)["published"] if uplink["publish"] else []
    except VnicdError:
        return []
    found = []
    for each in ports:
        place, name = _place(each), each["partition"]
        if each["state"] == "no-partition":
            detail, remedy = f"there is no partition {name}", f"vnicctl publish remove {place}"
        elif each["state"] == "no-address":
            detail = f"partition {name} has no address for it"
            remedy = _address_for(name, uplink)
        else:
            continue
        found.append(_finding("publish", "warn", f"{place} leads nowhere: {detail}", remedy))
    return found


def _place(published: dict[str, Any]) -> str:
    """A published port as `vnicctl publish remove` takes it."""
    address = published["address"] or ""
    at = f"[{address}]:" if ":" in address else f"{address}:" if address else ""
    suffix = "" if published["protocol"] == "tcp" else f"/{published['protocol']}"
    return f"{at}{published['port']}{suffix}"


def _without_address(uplink: dict[str, Any]) -> list[dict[str, Any]]:
    """Partitions that nat mode has no way out for."""
    subnets = " or ".join(str(ip_interface(text).network) for text in uplink["subnets"])
    return [
        _finding(
            "partition",
            "warn",
            f"{name} has no address of {subnets}, and so no way out",
            _address_for(name, uplink),
        )
        for name in uplink["without_address"]
    ]


def _address_for(name: str, uplink: dict[str, Any]) -> str:
    from vnicd.spec.uplink import gift

    free = uplink["without_address"].get(name)
    words = gift(uplink["subnets"], free) if free is not None else "--address ..."
    return f"vnicctl partition set {name} {words}"


def _show(data: dict[str, Any]) -> None:
    rows = []
    for check in data["checks"]:
        rows.append((check["status"], check["name"], check["detail"]))
        if check["status"] != "ok" and check["remedy"]:
            rows.append(("", "", f"-> {check['remedy']}"))
    output.columns(rows)
