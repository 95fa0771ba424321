"""What a fabric remembers across a restart of its hosting daemon: state.json, replaced as a whole."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vnicd.errors import TO_READ, NotPermitted, VnicdError
from vnicd.kernel.netns import Home
from vnicd.native.directory import MAX_PORTS
from vnicd.process import json_file, readers
from vnicd.spec.partition import PartitionSpec
from vnicd.spec.uplink import UplinkSpec

PID_MAX = 1 << 22
"""The kernel's own bound."""

HINT = "mend it; or remove it, and then all that is left of the fabric with: vnicctl down"


@dataclass
class Saved:
    """One partition as it is remembered."""

    spec: PartitionSpec
    port: int
    unfinished: bool
    """Being added or removed: a hosting daemon that finds this takes away whatever is there of it."""
    pid: int = 0
    started: int = 0
    """With the pid it names the partition daemon for certain (kernel/process.py)."""
    home: Home | None = None
    """The namespace of somebody else that it is in; None in a state of a version that did not know it."""
    birthplace: Home | None = None
    """Of an interface that is handed over: the namespace in which it was made."""


def save(
    path: Path,
    partitions: list[Saved],
    uplink: UplinkSpec | None = None,
    units: bool = False,
    mac_seed: str = "",
) -> None:
    """Write the state; Resources when it can't be written, and then the old one stands."""
    items = [{**saved.__dict__, "spec": saved.spec.to_json()} for saved in partitions]
    about = uplink.to_json() if uplink is not None else None
    document = {"version": 1, "units": units, "mac_seed": mac_seed, "uplink": about, "partitions": items}
    json_file.write(path, document, readers.open_file)


def load(path: Path) -> tuple[list[Saved], UplinkSpec | None]:
    """The remembered partitions and uplink, none if there is no state; VnicdError when the file is damaged."""
    try:
        data: dict[str, Any] = json.loads(path.read_text())
        found = [restore(item) for item in data["partitions"]]
        for what in ({saved.spec.name for saved in found}, {saved.port for saved in found}):
            if len(what) != len(found):
                raise ValueError("a name or a port is there twice")
        about = data.get("uplink")
        return found, UplinkSpec.from_json(about) if about is not None else None
    except FileNotFoundError:
        return [], None
    except PermissionError as error:
        raise NotPermitted(f"not allowed to read {path}", TO_READ) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, VnicdError) as error:
        raise VnicdError(f"{path} is damaged: {error}", HINT) from error


def has_units(path: Path) -> bool:
    """Whether the partition daemons of this state are systemd units; not when there is none, or a damaged one."""
    try:
        return json.loads(path.read_text())["units"] is True
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


def restore(item: dict[str, Any]) -> Saved:
    """One partition from its JSON; some error that load() knows when it is damaged."""
    homes = {key: item.get(key) for key in ("home", "birthplace")}
    saved = Saved(
        **{
            **item,
            "spec": PartitionSpec.from_json(item["spec"]),
            **{key: Home(*home) if home is not None else None for key, home in homes.items()},
        }
    )
    numbers = (saved.port, saved.pid, saved.started, *(saved.home or ()), *(saved.birthplace or ()))
    if any(type(number) is not int for number in numbers) or type(saved.unfinished) is not bool:
        raise ValueError(f"partition {saved.spec.name} has a number that is none")
    if not 0 < saved.port < MAX_PORTS or not 0 <= saved.pid <= PID_MAX or saved.started < 0:
        raise ValueError(f"partition {saved.spec.name} has a port or pid that can't be")
    if not saved.spec.mac:
        raise ValueError(f"partition {saved.spec.name} has no MAC address")
    return saved
