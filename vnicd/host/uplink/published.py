"""Published ports: what speaks against a new one, and what becomes of those that there are."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from ipaddress import ip_address
from typing import Any

from vnicd.errors import Busy, Invalid, NotFound, VnicdError
from vnicd.kernel import nic
from vnicd.kernel.firewall import nftables
from vnicd.kernel.sockets import listeners
from vnicd.packet import nft_rules
from vnicd.spec.uplink import Publish, UplinkSpec


def obstacles(published: Iterable[Publish], partitions: Collection[str], table: str) -> list[VnicdError]:
    """NotFound for an unknown partition, Invalid for an address that is not the machine's, Busy for a port in use.

    `table` is the firewall table of this fabric; others' may have published the port already.

    Blocking; in the machine's namespace.
    """
    others = nftables.published_elsewhere(table)
    elsewhere = [Publish(port, "", 0, protocol, address) for address, protocol, port in others]
    return [error for each in published for error in _of_one(each, partitions, elsewhere)]


def _of_one(each: Publish, partitions: Collection[str], elsewhere: list[Publish]) -> Iterator[VnicdError]:
    what = f"port {each.port}/{each.protocol} can't be published"
    if each.name not in partitions:
        hint = f"add it first: vnicctl partition add {each.name}"
        yield NotFound(f"{what}: there is no partition {each.name}", hint)
    if each.address and not _is_here(each.address):
        yield Invalid(f"{what}: {each.address} is no address of this machine", "see: ip addr")
    elif any(each.overlaps(other) for other in elsewhere):
        hint = "find it with: vnicctl --network NAME publish list"
        yield Busy(f"{what}: another network publishes it", hint)
    elif listeners.is_in_use(each.protocol, each.port, each.address):
        option = "t" if each.protocol == "tcp" else "u"
        hint = f"find it with: ss -l{option}np 'sport = :{each.port}'"
        yield Busy(f"{what}: a program on this machine uses it", hint)


def _is_here(address: str) -> bool:
    return ip_address(address).is_loopback or address in nic.machine_addresses()


def to_json(spec: UplinkSpec | None, addresses: Mapping[str, tuple[str, ...]]) -> list[dict[str, Any]]:
    """All published ports, and where each leads to; `addresses` are those of the partitions by name."""
    return [_one(spec, each, addresses) for each in spec.publish] if spec is not None else []


def _one(spec: UplinkSpec, each: Publish, addresses: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    to = nft_rules.destination(spec, each, addresses.get(each.name, ()))
    return {
        "publish": str(each),
        "address": each.address or None,
        "port": each.port,
        "protocol": each.protocol,
        "partition": each.name,
        "target_port": each.target,
        "to": to,
        "state": "up" if to else "no-address" if each.name in addresses else "no-partition",
    }
