"""What Docker says, as it really says it, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from vnicd.docker import wire
from vnicd.docker.wire import EndpointCall, Pool, PortCall
from vnicd.errors import Invalid

NETWORK, ENDPOINT = "165ebf2f" * 8, "485e32ac" * 8

CREATE_NETWORK = {
    "NetworkID": NETWORK,
    "Options": {
        "com.docker.network.enable_ipv6": True,
        "com.docker.network.internal": True,
        "com.docker.network.generic": {"vnicd.network": "fast"},
    },
    "IPv4Data": [{"AddressSpace": "LocalDefault", "Gateway": "10.89.0.1/24", "Pool": "10.89.0.0/24"}],
    "IPv6Data": [{"AddressSpace": "LocalDefault", "Gateway": "fd89::1/64", "Pool": "fd89::/64"}],
}

CREATE_ENDPOINT = {
    "NetworkID": NETWORK,
    "EndpointID": ENDPOINT,
    "Interface": {"Address": "10.89.0.2/24", "AddressIPv6": "fd89::2/64", "MacAddress": ""},
    "Options": {"com.docker.network.portmap": None, "com.docker.network.endpoint.exposedports": []},
}


def portmap(**words: Any) -> dict[str, Any]:
    port = {"Proto": 6, "IP": "", "Port": 80, "HostIP": "", "HostPort": 8080, "HostPortEnd": 8080}
    return {"Options": {"com.docker.network.portmap": [{**port, **words}]}}


def test_a_network() -> None:
    found = wire.network(CREATE_NETWORK)
    assert found.ident == NETWORK
    assert found.options == {"vnicd.network": "fast"}
    assert found.is_internal
    assert found.pools == (Pool("10.89.0.0/24", "10.89.0.1/24"), Pool("fd89::/64", "fd89::1/64"))


def test_a_network_that_says_the_least() -> None:
    found = wire.network({"NetworkID": NETWORK, "Options": None, "IPv4Data": None})
    assert (found.options, found.is_internal, found.pools) == ({}, False, ())


def test_an_endpoint() -> None:
    assert wire.endpoint(CREATE_ENDPOINT) == EndpointCall(NETWORK, ENDPOINT, ("10.89.0.2/24", "fd89::2/64"))
    empty = wire.endpoint({**CREATE_ENDPOINT, "Interface": None})
    assert empty == EndpointCall(NETWORK, ENDPOINT)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ({}, PortCall("tcp", 80, "", 8080, 8080)),
        ({"Proto": 17, "HostIP": "0.0.0.0"}, PortCall("udp", 80, "", 8080, 8080)),
        ({"HostIP": "::1", "HostPortEnd": 8090}, PortCall("tcp", 80, "::1", 8080, 8090)),
        ({"HostPort": 0, "HostPortEnd": 0}, PortCall("tcp", 80, "", 0, 0)),
        ({"HostPortEnd": 0}, PortCall("tcp", 80, "", 8080, 8080)),
    ],
)
def test_a_published_port(words: dict[str, Any], expected: PortCall) -> None:
    assert wire.ports(portmap(**words)) == [expected]


@pytest.mark.parametrize(
    "call",
    [
        {**CREATE_ENDPOINT, "EndpointID": "../../etc/passwd"},
        {**CREATE_ENDPOINT, "EndpointID": "abc"},
        {**CREATE_ENDPOINT, "NetworkID": None},
        {**CREATE_ENDPOINT, "NetworkID": 7},
        {**CREATE_ENDPOINT, "Interface": []},
        {**CREATE_ENDPOINT, "Interface": {"Address": ["10.89.0.2/24"]}},
    ],
)
def test_what_no_endpoint_is(call: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        wire.endpoint(call)


@pytest.mark.parametrize(
    "words", [{"Proto": 132}, {"Port": -1}, {"Port": 65536}, {"HostPort": "80"}, {"HostPort": True}]
)
def test_what_no_port_is(words: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        wire.ports(portmap(**words))


@pytest.mark.parametrize("body", [b"{", b"[]", b"7", b"\xff", b"[" * 100_000])
def test_what_no_call_is(body: bytes) -> None:
    with pytest.raises(Invalid):
        wire.parse(body)


def test_a_call_without_a_body() -> None:
    assert wire.parse(b"") == wire.parse(b"{}") == {}
    assert wire.parse(json.dumps(CREATE_NETWORK).encode()) == CREATE_NETWORK


@pytest.mark.parametrize("text", ["a\0b", "\ud800", "a\nb"])
def test_a_text_that_no_command_takes(text: str) -> None:
    options = {"com.docker.network.generic": {"vnicd.nic": text}}
    with pytest.raises(Invalid):
        wire.network({"NetworkID": NETWORK, "Options": options})


def test_a_port_for_all_addresses_of_each_family_is_one() -> None:
    (of_ipv4,) = portmap(HostIP="0.0.0.0")["Options"]["com.docker.network.portmap"]
    (of_ipv6,) = portmap(HostIP="::")["Options"]["com.docker.network.portmap"]
    call = {"Options": {"com.docker.network.portmap": [of_ipv4, of_ipv6]}}
    assert wire.ports(call) == [PortCall("tcp", 80, "", 8080, 8080)]
