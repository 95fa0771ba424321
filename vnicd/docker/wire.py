"""What Docker says to a network driver, and what it is answered; pure.

Docker's protocol for drivers of networks outside of it: an HTTP POST for each call, with an object of JSON as its body
and another one as the answer. An answer with `Err` is an error, whose text Docker shows to its user.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vnicd.errors import Invalid

LONGEST_BODY = 1 << 20
"""Bytes of a call."""

CONTENT_TYPE = "application/vnd.docker.plugins.v1+json"

GENERIC = "com.docker.network.generic"
INTERNAL = "com.docker.network.internal"
PORTMAP = "com.docker.network.portmap"
MTU = "com.docker.network.driver.mtu"
NETWORK_OPTION, UPLINK_OPTION, NIC_OPTION = "vnicd.network", "vnicd.uplink", "vnicd.nic"
RATE_OPTION, RATE_IN_OPTION = "vnicd.rate", "vnicd.rate-in"
OPTIONS = (NETWORK_OPTION, UPLINK_OPTION, NIC_OPTION, RATE_OPTION, RATE_IN_OPTION)
"""What `docker network create -o` takes of vnicd's own."""

PROTOCOLS = {6: "tcp", 17: "udp"}
ANYWHERE = ("", "0.0.0.0", "::")


@dataclass(frozen=True)
class Pool:
    """A subnet of a Docker network, with the gateway that Docker has chosen in it; both with prefix length."""

    subnet: str
    gateway: str


@dataclass(frozen=True)
class NetworkCall:
    """CreateNetwork."""

    ident: str
    options: Mapping[str, str]
    """Those of `docker network create -o`."""
    is_internal: bool
    pools: tuple[Pool, ...]


@dataclass(frozen=True)
class EndpointCall:
    """CreateEndpoint, and what names an endpoint in the other calls. What Docker leaves to the driver is empty."""

    network: str
    ident: str
    addresses: tuple[str, ...] = ()
    mac: str = ""


@dataclass(frozen=True)
class PortCall:
    """One port that is to be published."""

    protocol: str
    port: int
    address: str
    """Of the machine; empty for all."""
    first: int
    last: int
    """The machine's ports of which one is to be taken; 0 for any."""


def parse(body: bytes) -> dict[str, Any]:
    """The object of a call; Invalid when there is none. An empty body, as of Activate, is an empty one."""
    try:
        found = json.loads(body) if body.strip() else {}
    except (ValueError, RecursionError) as error:
        raise Invalid(f"the call is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise Invalid("the call is no object")
    return found


def network(call: Mapping[str, Any]) -> NetworkCall:
    given = _table(call, "Options")
    options = {key: _text({key: value}, key) for key, value in _table(given, GENERIC).items()}
    pools = tuple(
        Pool(_text(each, "Pool"), _text(each, "Gateway"))
        for key in ("IPv4Data", "IPv6Data")
        for each in _tables(call, key)
    )
    return NetworkCall(_ident(call, "NetworkID"), options, given.get(INTERNAL) is True, pools)


def endpoint(call: Mapping[str, Any]) -> EndpointCall:
    interface = _table(call, "Interface")
    addresses = (_text(interface, key) for key in ("Address", "AddressIPv6"))
    return EndpointCall(
        _ident(call, "NetworkID"),
        _ident(call, "EndpointID"),
        tuple(address for address in addresses if address),
        _text(interface, "MacAddress"),
    )


def ports(call: Mapping[str, Any]) -> list[PortCall]:
    """The ports that an endpoint is to publish; Invalid for a protocol that can't be."""
    found = []
    for each in _tables(_table(call, "Options"), PORTMAP):
        protocol = PROTOCOLS.get(_number(each, "Proto"))
        if protocol is None:
            raise Invalid("only ports of TCP and UDP can be published")
        first = _number(each, "HostPort")
        address = _text(each, "HostIP")
        port = PortCall(
            protocol,
            _number(each, "Port"),
            "" if address in ANYWHERE else address,
            first,
            max(first, _number(each, "HostPortEnd")),
        )
        if not first or port not in found:  # all addresses of IPv4, and again all of IPv6
            found.append(port)
    return found


def _table(call: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = call.get(key)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise Invalid(f"{key} of the call is no object")
    return found


def _tables(call: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    found = call.get(key)
    if found is None:
        return []
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise Invalid(f"{key} of the call is no list of objects")
    return found


def _text(call: Mapping[str, Any], key: str) -> str:
    found = call.get(key)
    if found is None:
        return ""
    if not isinstance(found, str) or len(found) > 1024 or not found.isprintable():
        raise Invalid(f"{key} of the call is no text")
    return found


def _number(call: Mapping[str, Any], key: str) -> int:
    found = call.get(key, 0)
    if type(found) is not int or not 0 <= found <= 0xFFFF:
        raise Invalid(f"{key} of the call is no number that it can be")
    return found


def _ident(call: Mapping[str, Any], key: str) -> str:
    """Docker makes these of 64 hexadecimal digits."""
    if not call:
        raise Invalid(
            "the call is empty, as Docker's second try is when the driver has ended meanwhile", "run it again"
        )
    found = _text(call, key)
    if not 12 <= len(found) <= 128 or not all(char in "0123456789abcdef" for char in found):
        raise Invalid(f"{key} of the call is none")
    return found
