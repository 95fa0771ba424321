"""Calls to the hosting daemon of the fabric that the environment names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from vnicd.cli.errors import os_reason
from vnicd.config import Paths, service_of, start_command
from vnicd.errors import NotFound, NotRunning, TimedOut, VnicdError
from vnicd.protocol.control import DEFAULT_TIMEOUT, Client

UP = "vnicctl up"
"""What starts a fabric that is no service."""

HINT_TIMEOUT_S = 0.5
"""Seconds that an error waits for the names that might have been meant."""


def call(method: str, params: dict[str, Any] | None = None, timeout: float = DEFAULT_TIMEOUT) -> Any:
    """The result of one request; every failure is a VnicdError."""
    paths = Paths.from_environment()
    path = paths.control
    try:
        return Client(path).call(method, params, timeout)
    except NotRunning as error:
        error.hint = error.hint.replace(UP, start_command(paths.root))
        raise
    except TimedOut as error:
        if service := service_of(paths.root):
            error.hint = f"see: systemctl status {service.removesuffix('.service')}, and vnicctl doctor"
        raise
    except NotFound as error:
        error.hint = _hint(path, params or {}) or error.hint
        raise
    except OSError as error:
        raise VnicdError(f"cannot reach the hosting daemon at {path}: {os_reason(error)}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise VnicdError(f"the hosting daemon's answer to {method} cannot be read", "see its log") from error


def alike(name: str, names: Iterable[str]) -> str:
    """The hint that one of these names was meant; empty when none is similar."""
    found = get_close_matches(name, list(names), 1)
    return f"did you mean {found[0]}?" if found else ""


def _hint(path: Path, params: Mapping[str, Any]) -> str:
    """The same for a partition that the hosting daemon does not know."""
    wanted = [params[key] for key in ("name", "from", "to") if key in params]
    if not wanted:
        return ""
    try:
        partitions = Client(path).call("partition.list", timeout=HINT_TIMEOUT_S)["partitions"]
        names = [each["name"] for each in partitions]
    except (OSError, ValueError, KeyError, TypeError, VnicdError):
        return ""
    return next((alike(name, names) for name in wanted if name not in names), "")
