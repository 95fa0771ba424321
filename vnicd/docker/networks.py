"""The Docker networks that vnicd serves: a file, replaced as a whole.

Docker tells a driver of a network when it is created, and never again, so what it said has to outlive this process and
the machine's restarts, as Docker's own memory of it does. Endpoints are not in the file: they are partitions.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vnicd.errors import NotFound, Resources, VnicdError
from vnicd.process import json_file


@dataclass(frozen=True)
class DockerNetwork:
    ident: str
    network: str
    """The network of vnicd that it is."""
    is_own: bool = False
    """Made for this Docker network, and to be removed with it."""
    is_internal: bool = False
    gateways: tuple[str, ...] = ()
    """That Docker has chosen, without prefix lengths."""
    mtu: int = 0
    rate: str = ""
    rate_in: str = ""


class Networks:
    """All of them by their ids. For several threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = threading.Lock()
        self.known = _load(path)

    def get(self, ident: str) -> DockerNetwork:
        found = self.known.get(ident)
        if found is None:
            raise NotFound(
                f"vnicd does not know the Docker network {ident[:12]}", "remove it, and create it anew"
            )
        return found

    def find(self, ident: str) -> DockerNetwork | None:
        return self.known.get(ident)

    def all(self) -> list[DockerNetwork]:
        return list(self.known.values())

    def put(self, network: DockerNetwork) -> None:
        """Know a network; Resources when that can't be written."""
        self._change(lambda known: known.update({network.ident: network}))

    def drop(self, ident: str) -> None:
        self._change(lambda known: known.pop(ident, None))

    def _change(self, change: Callable[[dict[str, DockerNetwork]], object]) -> None:
        with self.lock:
            known = dict(self.known)
            change(known)
            _save(self.path, known)
            self.known = known


def _save(path: Path, known: dict[str, DockerNetwork]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Resources(f"{path} can't be written: {error.strerror}") from error
    json_file.write(path, {"version": 1, "networks": [asdict(each) for each in known.values()]})


def _load(path: Path) -> dict[str, DockerNetwork]:
    try:
        data = json.loads(path.read_text())
        found = [_restore(each) for each in data["networks"]]
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise VnicdError(f"{path} can't be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        hint = "mend it; or remove it, and create Docker's networks of the driver vnicd anew"
        raise VnicdError(f"{path} is damaged: {error}", hint) from error
    return {each.ident: each for each in found}


def _restore(item: dict[str, Any]) -> DockerNetwork:
    found = DockerNetwork(**{**item, "gateways": tuple(item["gateways"])})
    kinds = (str, str, bool, bool, tuple, int, str, str)
    values = (getattr(found, name) for name in DockerNetwork.__dataclass_fields__)
    if not all(type(value) is kind for value, kind in zip(values, kinds, strict=True)):
        raise ValueError(f"a value of network {found.ident} has the wrong type")
    return found
