"""Strategies for declared fabrics: small worlds in which partitions share names and addresses often."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from vnicd.config import Options, make_options
from vnicd.spec.fabric_file import Declared
from vnicd.spec.partition import PartitionSpec, make_partition
from vnicd.spec.uplink import UplinkSpec, make_uplink

NAMES = ("web", "db", "a.b", "7_x-")
POOL = [f"10.78.0.{n}/24" for n in range(1, 6)] + [f"fd78::{n}/64" for n in range(1, 5)] + ["10.9.0.1/16"]

POOLS = (((), ()), (("10.78.0.0/29", "fd78::/64"), ("10.78.0.6",)), (("10.9.0.0/16",), ()))
"""Subnets and gateways of a network."""


@st.composite
def options(draw: st.DrawFn) -> Options:
    chosen = make_options(
        draw(st.sampled_from(["auto", "require", "never"])),
        draw(st.floats(0.1, 86400)),
        draw(st.integers(0, 1000)),
    )
    subnets, gateways = draw(st.sampled_from(POOLS))
    labels = draw(st.sampled_from([(), ("app=shop", "b=ü x")]))
    return replace(chosen, subnets=subnets, gateways=gateways, labels=labels)


@st.composite
def uplinks(draw: st.DrawFn) -> UplinkSpec:
    mode = draw(st.sampled_from(["bridge", "shared", "nat", "none"]))
    if mode == "none":
        addresses = ["10.77.0.254/24", "fd77::fe/64", "192.0.2.9/32"]
        chosen = draw(st.lists(st.sampled_from(addresses), min_size=1, unique=True))
        return make_uplink(None, mode, addresses=chosen)
    subnets, publish = (), ()
    if mode == "nat":
        subnets = draw(
            st.sampled_from([(), ("10.78.0.0/24",), ("fd78::/64", "10.78.0.1/29"), ("10.9.0.9/16",)])
        )
        ports = draw(st.lists(st.integers(1, 65535), max_size=4, unique=True))
        publish = tuple(
            f"{draw(st.sampled_from(['', '10.0.0.2:', '[2001:db8::2]:']))}{port}"
            f":{draw(st.sampled_from([*NAMES, 'late']))}:{draw(st.integers(1, 65535))}"
            f"{draw(st.sampled_from(['', '/udp']))}"
            for port in ports
        )
    nic = draw(st.sampled_from(["eth1", "a.b-c", 'q"\\', "ü"]))
    return make_uplink(nic, mode, subnets, publish, draw(st.booleans()))


@st.composite
def partitions(draw: st.DrawFn, name: str, free: list[str]) -> PartitionSpec:
    """One that takes its addresses out of `free`."""
    addresses = draw(st.lists(st.sampled_from(free), max_size=3, unique=True)) if free else []
    for text in addresses:
        free.remove(text)
    inside = [text.rpartition(".")[0] + ".250" for text in addresses if text.startswith("10.78")]
    has_ipv6 = any(":" in text for text in addresses)
    return make_partition(
        name,
        addresses,
        draw(st.sampled_from([None, f"02:00:00:00:00:{NAMES.index(name):02x}"])),
        draw(st.sampled_from([None, 1500, 9000] + [700] * (not has_ipv6))),
        draw(st.sampled_from([None, "eth0", f"x{NAMES.index(name)}"])),
        draw(st.sampled_from([None, f"ns{NAMES.index(name)}", "/proc/7/ns/ü"])),
        draw(st.sampled_from([[], inside[:1]])),
        draw(st.sampled_from([None, 10**8, 1_500_000, 1_234_567])),
        draw(st.sampled_from([None, 10**8, 1_234_567])),
    )


@st.composite
def fabrics(draw: st.DrawFn) -> Declared:
    """Any fabric whose partitions can be side by side."""
    free = list(POOL)
    names = draw(st.lists(st.sampled_from(NAMES), unique=True))
    specs: dict[str, PartitionSpec] = {}
    for name in names:
        spec = draw(partitions(name, free))
        if all(
            (spec.netns, spec.ifname) != (each.netns, each.ifname) or not spec.netns
            for each in specs.values()
        ):
            specs[name] = spec
    uplink = draw(st.none() | uplinks())
    bare = {(name, "addresses") for name, spec in specs.items() if not spec.addresses and draw(st.booleans())}
    bare |= {(name, "gateways") for name, spec in specs.items() if not spec.gateways and draw(st.booleans())}
    return Declared(draw(options()), uplink, specs, frozenset(bare))
