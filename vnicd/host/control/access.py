"""Who may do what on the control socket: root all, whoever else may connect only read; and what a method is given."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vnicd.errors import Invalid, NotPermitted
from vnicd.process import readers
from vnicd.protocol.control import MAX_REQUEST

ROOT = 0

MAX_READING_REQUEST = 4096
"""Longest request line in bytes of somebody who may only read; root's is MAX_REQUEST."""

TYPE_NAMES = {str: "a text", bool: "true or false", dict: "an object", list: "a list"}


@dataclass(frozen=True)
class Rule:
    """What a method does if only root may use it, and the types of its parameters; None if it checks them itself."""

    change: str = ""
    params: Mapping[str, type] | None = None
    reads: bool = False
    """Whether it changes nothing, though only root may use it: then it leaves no line in the log."""


RULES = {
    "fabric.ping": Rule(params={}),
    "fabric.check": Rule(params={}),
    "status": Rule(params={}),
    "links": Rule(params={}),
    "debug.link": Rule("look into the daemons", {"from": str, "to": str}, reads=True),
    "sockets.list": Rule(params={}),
    "stats": Rule(params={"name": str}),
    "partition.list": Rule(params={"owner": dict}),
    "partition.show": Rule(params={"name": str}),
    "uplink.show": Rule(params={}),
    "publish.list": Rule(params={}),
    "config.export": Rule(params={}),
    "fabric.down": Rule("take the fabric down", {}),
    "fabric.apply": Rule("change the fabric", {"declared": dict, "dry_run": bool, "allow_empty": bool}),
    "partition.add": Rule("add a partition"),
    "partition.set": Rule("change a partition"),
    "partition.remove": Rule("remove a partition", {"name": str, "owner": dict}),
    "partition.restart": Rule("restart a partition's daemon", {"name": str}),
    "uplink.set": Rule("set the uplink"),
    "uplink.clear": Rule("clear the uplink", {}),
    "publish.add": Rule("publish a port", {"publish": list, "held": bool}),
    "publish.remove": Rule("publish a port no more", {"publish": list}),
}

UNKNOWN = Rule("do this")
"""For a method that has no rule: it is not open by being forgotten here."""


def check(uid: int, method: str, params: Mapping[str, Any], rules: Mapping[str, Rule] = RULES) -> None:
    """NotPermitted when this user may not use the method, Invalid when it has no such parameters."""
    rule = rules.get(method, UNKNOWN)
    if rule.change and uid != ROOT:
        raise NotPermitted(f"only root can {rule.change}", "run it with sudo")
    if rule.params is None:
        return
    unknown = sorted(set(params) - set(rule.params))
    if unknown:
        raise Invalid(f"{method} has no parameter {unknown[0][:64]}")
    for name, kind in rule.params.items():
        if name in params and not isinstance(params[name], kind):
            raise Invalid(f"the parameter {name} of {method} must be {TYPE_NAMES[kind]}")


def longest_request(uid: int) -> int:
    return MAX_REQUEST if uid == ROOT else MAX_READING_REQUEST


def open_to_group(path: Path) -> None:
    """Make a socket file one that root and our group can connect to."""
    os.chown(path, 0, readers.group_id())
    path.chmod(0o660)
