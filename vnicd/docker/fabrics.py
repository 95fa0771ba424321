"""Calls to the hosting daemons of vnicd's networks."""

from __future__ import annotations

from typing import Any

from vnicd.config import DEFAULT_NETWORK, Paths
from vnicd.errors import Invalid, NotFound, VnicdError
from vnicd.protocol.control import Client
from vnicd.spec.partition import is_name

CALL_TIMEOUT_S = 30.0
"""Seconds that a hosting daemon has for an answer; Docker waits as long."""


class Fabrics:
    """`default` are the files of the network of that name."""

    def __init__(self, default: Paths) -> None:
        self.default = default

    def paths(self, network: str) -> Paths:
        if not is_name(network):
            raise Invalid(f"{network!r} is not the name of a network")
        return self.default.of_network(network)

    def call(self, network: str, method: str, params: dict[str, Any] | None = None) -> Any:
        """The result of one request; every failure is a VnicdError."""
        paths = self.paths(network)
        if network != DEFAULT_NETWORK and not paths.root.is_dir():
            raise NotFound(f"there is no network {network}", "list them with: vnicctl network list")
        try:
            return Client(paths.control).call(method, params, CALL_TIMEOUT_S)
        except OSError as error:
            text = error.strerror or str(error)
            raise VnicdError(f"cannot reach the hosting daemon at {paths.control}: {text}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise VnicdError(f"the hosting daemon's answer to {method} cannot be read") from error
