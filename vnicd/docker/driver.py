"""The methods of Docker's network driver protocol, carried out by hosting daemons.

Theory of operation. An endpoint is a partition of its network. Docker has it created and joined before the container's
namespace is there, so the partition's interface is made where Docker runs and handed over: Docker moves it into the
container, calls it eth0 and gives it its addresses (vnicd/host/partitions/attached/handovers.py).

Docker sends a call again if its connection ends before the answer, as when this process is killed. So each method finds
out whether it was carried out already, and what is to go may be gone.
"""

from __future__ import annotations

import ipaddress
import logging
import random
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from vnicd.docker import naming, own_networks, wire
from vnicd.docker.fabrics import Fabrics
from vnicd.docker.networks import DockerNetwork, Networks
from vnicd.docker.wire import EndpointCall, NetworkCall, PortCall
from vnicd.errors import Busy, Exists, Invalid, NotFound, NotRunning, Taken, VnicdError
from vnicd.spec.partition import check_mtu, check_rate

log = logging.getLogger(__name__)

ROUTING_MODES = ("bridge", "shared")
"""Modes of the uplink in which the gateway is one of the outer network, and the one that Docker was told."""

ANY_PORT = (49152, 65535)
"""Where a port of the machine is chosen if any will do."""

PORT_TRIES = 64
REMOVE_TRIES, REMOVE_PAUSE_S = 20, 0.1
"""For a partition that somebody else is just adding or removing."""

Answer = dict[str, Any]


class Driver:
    """`caller` is the process that a call came from: Docker itself."""

    def __init__(self, fabrics: Fabrics, networks: Networks) -> None:
        self.fabrics = fabrics
        self.networks = networks
        self.methods: dict[str, Callable[[Mapping[str, Any], int], Answer]] = {
            "Plugin.Activate": self._activate,
            "NetworkDriver.GetCapabilities": self._capabilities,
            "NetworkDriver.CreateNetwork": self._create_network,
            "NetworkDriver.DeleteNetwork": self._delete_network,
            "NetworkDriver.CreateEndpoint": self._create_endpoint,
            "NetworkDriver.DeleteEndpoint": self._delete_endpoint,
            "NetworkDriver.EndpointOperInfo": self._endpoint_info,
            "NetworkDriver.Join": self._join,
            "NetworkDriver.Leave": self._leave,
            "NetworkDriver.ProgramExternalConnectivity": self._publish,
            "NetworkDriver.RevokeExternalConnectivity": self._leave,
            "NetworkDriver.DiscoverNew": self._nothing,
            "NetworkDriver.DiscoverDelete": self._nothing,
            "NetworkDriver.GwAllocCheck": self._needs_gateways,
        }

    def answer(self, method: str, call: Mapping[str, Any], caller: int) -> Answer:
        """What a method answers; KeyError when there is none of that name, VnicdError when it fails."""
        return self.methods[method](call, caller)

    def _activate(self, call: Mapping[str, Any], caller: int) -> Answer:
        return {"Implements": ["NetworkDriver"]}

    def _capabilities(self, call: Mapping[str, Any], caller: int) -> Answer:
        return {"Scope": "local", "ConnectivityScope": "local"}

    def _nothing(self, call: Mapping[str, Any], caller: int) -> Answer:
        """Nodes of a cluster come and go, which is no matter to networks of one machine."""
        return {}

    def _needs_gateways(self, call: Mapping[str, Any], caller: int) -> Answer:
        return {"SkipIPv4": False, "SkipIPv6": False}

    # -------------------------------------------------------------------------------------- networks

    def _create_network(self, call: Mapping[str, Any], caller: int) -> Answer:
        asked = wire.network(call)
        network = docker_network(asked)
        if network.is_own:
            options = asked.options
            uplink = "internal" if asked.is_internal else options.get(wire.UPLINK_OPTION, "nat")
            own_networks.add(asked.ident, uplink, options.get(wire.NIC_OPTION, ""), asked.pools)
        try:
            self.fabrics.call(network.network, "fabric.ping")
            self.networks.put(network)
        except VnicdError:
            if network.is_own:
                own_networks.remove(network.network)
            raise
        log.info("the Docker network %s is the network %s", network.ident[:12], network.network)
        return {}

    def _delete_network(self, call: Mapping[str, Any], caller: int) -> Answer:
        ident = wire.network(call).ident
        if (network := self.networks.find(ident)) is not None:
            if network.is_own:
                own_networks.remove(network.network)
            self.networks.drop(ident)
            log.info("the Docker network %s is no more", network.ident[:12])
        return {}

    # ------------------------------------------------------------------------------------- endpoints

    def _create_endpoint(self, call: Mapping[str, Any], caller: int) -> Answer:
        endpoint = wire.endpoint(call)
        network = self.networks.get(endpoint.network)
        partition = self._add(network, endpoint, caller)
        given: Answer = {} if endpoint.mac else {"MacAddress": partition["mac"]}
        for address in partition["addresses"] if not endpoint.addresses else ():
            is_ipv6 = ipaddress.ip_interface(address).version == 6
            given.setdefault("AddressIPv6" if is_ipv6 else "Address", address)
        return {"Interface": given}

    def _add(self, network: DockerNetwork, endpoint: EndpointCall, caller: int) -> Any:
        """The partition of an endpoint; one that is there already was made by an earlier try."""
        name = naming.partition(endpoint.ident)
        params = {
            "name": name,
            "netns": _namespace(caller),
            "ifname": naming.interface(endpoint.ident),
            "handover": True,
            "addresses": list(endpoint.addresses),
            "gateways": self._outer_gateways(network, endpoint),
            "mac": endpoint.mac or naming.mac(endpoint.ident),
            "mtu": network.mtu or None,
            "rate": network.rate or None,
            "rate_in": network.rate_in or None,
            "owner": naming.owner(network.ident, endpoint.ident),
        }
        try:
            return self.fabrics.call(network.network, "partition.add", params)
        except Taken:
            if not self._make_way(network, endpoint):
                raise
            return self.fabrics.call(network.network, "partition.add", params)
        except Exists:
            found = self.fabrics.call(network.network, "partition.show", {"name": name})
            if not naming.is_of(found, endpoint.ident):
                raise
            return found

    def _make_way(self, network: DockerNetwork, endpoint: EndpointCall) -> bool:
        """Remove partitions of this Docker network that have an address which Docker gives to this endpoint, if any.

        Docker gives it once. It does not tell of an endpoint that is no more if it got no answer when it made that.
        """
        is_removed = False
        wanted = {ipaddress.ip_interface(address).ip for address in endpoint.addresses}
        for each in self.fabrics.call(network.network, "partition.list")["partitions"]:
            ident = (each["owner"] or {}).get(naming.OWNER_ENDPOINT, "")
            is_other = naming.is_in(each, network.ident) and ident != endpoint.ident
            if is_other and wanted & {ipaddress.ip_interface(text).ip for text in each["addresses"]}:
                log.warning("endpoint %s was left, and is removed", ident[:12])
                with suppress(NotFound):
                    self._remove(network, ident)
                is_removed = True
        return is_removed

    def _outer_gateways(self, network: DockerNetwork, endpoint: EndpointCall) -> list[str]:
        """Those of the network that the uplink leads to; in nat mode the hosting daemon knows its own."""
        uplink = self.fabrics.call(network.network, "uplink.show")["uplink"]
        if network.is_internal or uplink is None or uplink["mode"] not in ROUTING_MODES:
            return []
        versions = {ipaddress.ip_interface(address).version for address in endpoint.addresses}
        return [each for each in network.gateways if ipaddress.ip_address(each).version in versions]

    def _delete_endpoint(self, call: Mapping[str, Any], caller: int) -> Answer:
        """What can't be removed while no hosting daemon runs ends by itself when one is there again."""
        endpoint = wire.endpoint(call)
        network = self.networks.find(endpoint.network)
        if network is None:
            return {}
        try:
            self._remove(network, endpoint.ident)
        except (NotFound, NotRunning) as error:
            log.info("endpoint %s is left: %s", endpoint.ident[:12], error.line())
        return {}

    def _remove(self, network: DockerNetwork, endpoint: str) -> None:
        name = naming.partition(endpoint)
        for tries in range(REMOVE_TRIES):
            found = self.fabrics.call(network.network, "partition.show", {"name": name})
            if not naming.is_of(found, endpoint):
                return
            try:
                self._unpublish(network, name)
                self.fabrics.call(network.network, "partition.remove", {"name": name})
                return
            except Busy:
                if tries == REMOVE_TRIES - 1:
                    raise
                time.sleep(REMOVE_PAUSE_S)

    def _endpoint_info(self, call: Mapping[str, Any], caller: int) -> Answer:
        return {"Value": {}}

    def _join(self, call: Mapping[str, Any], caller: int) -> Answer:
        """Docker moves the interface next. Where nothing leads outside, it is not to add a bridge of its own."""
        endpoint = wire.endpoint(call)
        network = self.networks.get(endpoint.network)
        name = naming.partition(endpoint.ident)
        partition = self.fabrics.call(network.network, "partition.show", {"name": name})
        answer: Answer = {
            "InterfaceName": {"SrcName": partition["ifname"], "DstPrefix": "eth"},
            "DisableGatewayService": True,
        }
        for gateway in partition["gateways"] if not network.is_internal else ():
            answer["GatewayIPv6" if ":" in gateway else "Gateway"] = gateway
        return answer

    # ----------------------------------------------------------------------------------------- ports

    def _publish(self, call: Mapping[str, Any], caller: int) -> Answer:
        endpoint = wire.endpoint(call)
        network = self.networks.get(endpoint.network)
        wanted = wire.ports(call)
        if wanted:
            name = naming.partition(endpoint.ident)
            self._unpublish(network, name)
            done: list[str] = []
            try:
                for each in wanted:
                    done.append(self._publish_one(network, name, each))
            except VnicdError:
                self._unpublish(network, name)
                raise
        return {}

    def _publish_one(self, network: DockerNetwork, name: str, port: PortCall) -> str:
        """Publish a port at one of those that will do."""
        candidates = choices(port)
        for number in candidates:
            text = published(number, name, port)
            try:
                self.fabrics.call(network.network, "publish.add", {"publish": [text]})
                return text
            except (Busy, Exists):
                if number == candidates[-1]:
                    raise
        raise Invalid(f"there is no port between {port.first} and {port.last}")

    def _leave(self, call: Mapping[str, Any], caller: int) -> Answer:
        endpoint = wire.endpoint(call)
        network = self.networks.find(endpoint.network)
        if network is None:
            return {}
        try:
            self._unpublish(network, naming.partition(endpoint.ident))
        except (NotFound, NotRunning) as error:
            log.info("ports of endpoint %s are left: %s", endpoint.ident[:12], error.line())
        return {}

    def _unpublish(self, network: DockerNetwork, name: str) -> None:
        """Take back the ports of a partition, and those of endpoints that ended while nobody could be told."""
        there = self.fabrics.call(network.network, "publish.list")["published"]
        for each in there:
            is_left = each["state"] == "no-partition" and naming.is_partition(each["partition"])
            if each["partition"] == name or is_left:
                try:
                    self.fabrics.call(network.network, "publish.remove", {"publish": [each["publish"]]})
                except NotFound:
                    continue  # somebody was faster


def docker_network(asked: NetworkCall) -> DockerNetwork:
    """What a Docker network is to be; Invalid for an option that does not exist or is wrong."""
    options = dict(asked.options)
    for key in options:
        if key.startswith("vnicd.") and key not in wire.OPTIONS:
            raise Invalid(
                f"a network has no option {key}", f"those that there are: {', '.join(wire.OPTIONS)}"
            )
    if options.get(wire.NETWORK_OPTION) and (own := {wire.UPLINK_OPTION, wire.NIC_OPTION} & set(options)):
        raise Invalid(f"{min(own)} is for a network of its own, and not with {wire.NETWORK_OPTION}")
    rates = {key: options.get(key, "") for key in (wire.RATE_OPTION, wire.RATE_IN_OPTION)}
    for rate in rates.values():
        if rate:
            check_rate(rate)
    return DockerNetwork(
        ident=asked.ident,
        network=options.get(wire.NETWORK_OPTION) or naming.network(asked.ident),
        is_own=not options.get(wire.NETWORK_OPTION),
        is_internal=asked.is_internal,
        gateways=tuple(pool.gateway.partition("/")[0] for pool in asked.pools if pool.gateway),
        mtu=_mtu(options.get(wire.MTU, "")),
        rate=rates[wire.RATE_OPTION],
        rate_in=rates[wire.RATE_IN_OPTION],
    )


def _mtu(text: str) -> int:
    if not text:
        return 0
    if not text.isdecimal():
        raise Invalid(f"the MTU must be a number, not {text!r}")
    return check_mtu(int(text))


def choices(port: PortCall) -> list[int]:
    """The machine's ports at which one can be published, in the order of trying."""
    if port.first:
        return list(range(port.first, min(port.last, port.first + PORT_TRIES) + 1))
    return random.sample(range(ANY_PORT[0], ANY_PORT[1] + 1), PORT_TRIES)


def published(number: int, partition: str, port: PortCall) -> str:
    """A published port as the hosting daemon takes it."""
    address = f"[{port.address}]" if ":" in port.address else port.address
    start = f"{address}:" if address else ""
    end = "/udp" if port.protocol == "udp" else ""
    return f"{start}{number}:{partition}:{port.port}{end}"


def _namespace(caller: int) -> str:
    """Where Docker runs: there it looks for interfaces, and moves them from there."""
    if caller <= 0:
        raise Invalid("Docker runs where its processes can't be seen from here", "run vnicd docker beside it")
    return f"/proc/{caller}/ns/net"
