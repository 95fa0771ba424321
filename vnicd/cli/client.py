"""Calls to the hosting daemon of the fabric that the environment names."""

from __future__ import annotations

from typing import Any

from vnicd.cli.errors import os_reason
from vnicd.config import Paths
from vnicd.errors import VnicdError
from vnicd.protocol.control import DEFAULT_TIMEOUT, Client


def call(method: str, params: dict[str, Any] | None = None, timeout: float = DEFAULT_TIMEOUT) -> Any:
    """The result of one request; every failure is a VnicdError."""
    path = Paths.from_environment().control
    try:
        return Client(path).call(method, params, timeout)
    except OSError as error:
        raise VnicdError(f"cannot reach the hosting daemon at {path}: {os_reason(error)}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise VnicdError(f"the hosting daemon's answer to {method} cannot be read", "see its log") from error
