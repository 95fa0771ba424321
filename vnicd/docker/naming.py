"""What Docker's endpoints and networks are called in vnicd; pure.

An endpoint is a partition whose name, interface and MAC follow from its id, so whoever knows the id finds it without
anything written down.
"""

from __future__ import annotations

import re
from typing import Any

OWNER_NETWORK, OWNER_ENDPOINT = "docker.network", "docker.endpoint"
"""What a partition's owner has of Docker: the ids of the network and of the endpoint."""

PREFIX = "docker-"
_PARTITION = re.compile(PREFIX + "[0-9a-f]{12}")


def partition(endpoint: str) -> str:
    return f"{PREFIX}{endpoint[:12]}"


def network(ident: str) -> str:
    """Of a Docker network that is a network of vnicd of its own."""
    return f"{PREFIX}{ident[:12]}"


def is_partition(name: str) -> bool:
    return _PARTITION.fullmatch(name) is not None


def interface(endpoint: str) -> str:
    """The interface's name until Docker has moved it."""
    return f"vn{endpoint[:10]}"


def mac(endpoint: str) -> str:
    """An id is random, so no two machines on one network have the same."""
    return ":".join(("02", *(endpoint[at : at + 2] for at in range(0, 10, 2))))


def owner(network: str, endpoint: str) -> dict[str, str]:
    return {OWNER_NETWORK: network, OWNER_ENDPOINT: endpoint}


def is_in(partition: dict[str, Any], network: str) -> bool:
    """Whether a partition is an endpoint of a Docker network."""
    return (partition.get("owner") or {}).get(OWNER_NETWORK) == network


def is_of(partition: dict[str, Any], endpoint: str) -> bool:
    """Whether a partition, as the hosting daemon shows it, is that of an endpoint."""
    return (partition.get("owner") or {}).get(OWNER_ENDPOINT) == endpoint
