"""What is in the way of changes: all of it is found, and nothing that was there before and stays."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from vnicd.config import Options
from vnicd.errors import Busy, Exists, NoNamespace, Unsupported, VnicdError
from vnicd.spec.obstacles import MAX_PARTITIONS, Aim, Machine, Nic, mtu_obstacle, obstacles
from vnicd.spec.partition import PartitionSpec, make_partition
from vnicd.spec.plan import Change
from vnicd.spec.pool import pool_of
from vnicd.spec.uplink import UplinkSpec, make_uplink

NIC = Nic("eth1", "02:00:00:00:00:e1", 1500, ("192.0.2.1/24",))
NAT = make_uplink("eth1", "nat", subnets=["10.78.0.0/24"])
BRIDGE = make_uplink("eth1")
BARE = Machine()
SET = Change("change", "uplink", "eth1")


def spec(name: str, *addresses: str, mtu: int | None = None, mac: str | None = None) -> PartitionSpec:
    """A partition with a MAC, as in an aim."""
    return make_partition(name, list(addresses), mac or f"02:00:00:00:01:{ord(name[0]):02x}", mtu)


def of(op: str, each: PartitionSpec) -> Change:
    return Change(op, "partition", each.name, partition=each)  # type: ignore[arg-type]


def found(
    changes: list[Change],
    partitions: list[PartitionSpec],
    uplink: UplinkSpec | None = None,
    machine: Machine = BARE,
    leaving: int = 0,
    may_be_absent: bool = False,
    bare: frozenset[str] = frozenset(),
) -> list[tuple[str, str, str]]:
    """Name, code and message of each obstacle."""
    pool = pool_of(uplink, Options())
    aim = Aim({each.name: each for each in partitions}, uplink, bare, pool, leaving)
    return [
        (change.name, error.code, error.message)
        for change, error in obstacles(changes, aim, machine, may_be_absent)
    ]


def codes(told: list[tuple[str, str, str]]) -> list[tuple[str, str]]:
    return [(name, code) for name, code, _ in told]


def test_nothing_is_in_the_way() -> None:
    web, db = spec("web", "10.78.0.2/24"), spec("db", "10.78.0.3/24", mtu=1500)
    changes = [Change("remove", "partition", "old"), SET, of("add", web), of("replace", db)]
    assert found(changes, [web, db], NAT, Machine(NIC, "02:00:00:00:00:01", hugepages=4)) == []


def test_all_of_one_partition_is_told() -> None:
    web = spec("web", "192.0.2.1/24", "10.1.0.1/24", "10.78.0.1/24", mtu=9000, mac="02:00:00:00:00:01")
    machine = Machine(
        NIC,
        "02:00:00:00:00:01",
        hugepages=1,
        elsewhere={"10.1.0.1": Busy("a route"), "192.0.2.1": Busy("told already")},
        places={"web": NoNamespace("none")},
    )
    assert found([of("add", web)], [web], NAT, machine) == [
        ("web", "invalid", "the MTU 9000 is larger than the uplink's"),
        ("web", "taken", "a partition has the MAC address 02:00:00:00:00:01, which is this machine's"),
        ("web", "taken", "a partition has the address 192.0.2.1, which is this machine's"),
        ("web", "taken", "a partition has the address 10.78.0.1, which is this machine's"),
        ("web", "busy", "a route"),
        ("web", "no_namespace", "none"),
        ("web", "no_hugepages", "2 hugepages of 2 MiB are needed, and 1 can be had"),
    ]
    assert codes(found([of("change", web)], [web], None, machine)) == []


def test_those_that_stay_were_first() -> None:
    """Of two that come, the first one; and what was wrong before is nobody's change."""
    old, new, other = (
        spec("zoo", "10.0.0.1/24", mac="02:00:00:00:00:11"),
        spec("new", "10.0.0.1/16", mac="02:00:00:00:00:22"),
        spec("all", "10.0.0.2/24", mac="02:00:00:00:00:22"),
    )
    assert found([of("add", new), of("change", other)], [new, other, old]) == [
        ("new", "taken", "the address 10.0.0.1/16 belongs to partition zoo"),
        ("all", "taken", "the MAC address 02:00:00:00:00:22 belongs to partition new"),
    ]
    assert found([], [new, other, old]) == []


def test_addresses_may_be_swapped() -> None:
    one, two = spec("one", "10.0.0.2/24"), spec("two", "10.0.0.1/24")
    assert found([of("change", one), of("change", two)], [one, two]) == []


UPLINKS: list[tuple[Machine, Mapping[str, bool], list[tuple[str, str]]]] = [
    (Machine(), {}, [("eth1", "not_found")]),
    (Machine(), {"may_be_absent": True}, []),
    (Machine(Nic("eth1", "", 1500, obstacle=Busy("another's"))), {}, [("eth1", "busy")]),
    (Machine(NIC, uplink=Unsupported("no nft")), {}, [("eth1", "unsupported")]),
    (Machine(Nic("eth1", "", 1500, ("10.78.0.9/16",))), {}, [("eth1", "invalid")]),
    (Machine(NIC, gateway_mac="02:00:00:00:01:77"), {}, [("eth1", "taken")]),  # that of web
    (Machine(NIC, elsewhere={"10.5.0.1": Busy("a route")}), {}, [("eth1", "busy")]),
]


@pytest.mark.parametrize(("machine", "words", "expected"), UPLINKS)
def test_what_an_uplink_meets(
    machine: Machine, words: Mapping[str, bool], expected: list[tuple[str, str]]
) -> None:
    assert codes(found([SET], [spec("web", "10.5.0.1/24")], NAT, machine, **words)) == expected  # type: ignore[arg-type]
    assert found([], [spec("web", "10.5.0.1/24")], NAT, machine) == []


def test_outside_nat_mode_the_nics_mac_counts() -> None:
    web = spec("web", mac=NIC.mac)
    assert codes(found([SET], [web], BRIDGE, Machine(NIC))) == [("eth1", "taken")]
    assert found([SET], [web], NAT, Machine(NIC)) == []


def test_a_subnet_that_is_used_up() -> None:
    tiny = make_uplink("eth1", "nat", subnets=["10.78.0.0/30"])
    full, web = spec("full", "10.78.0.2/30"), spec("web")
    machine = Machine(NIC)
    assert codes(found([of("add", web)], [full, web], tiny, machine)) == [("web", "invalid")]
    assert found([of("add", web)], [full, web], tiny, machine, bare=frozenset({"web"})) == []


def test_ports_and_hugepages_are_counted() -> None:
    many = [spec(f"n{n}", mac=f"02:00:00:00:{n // 256:02x}:{n % 256:02x}") for n in range(MAX_PARTITIONS)]
    changes = [of("add", each) for each in many]
    assert found(changes, many) == []
    assert codes(found(changes, many, leaving=2)) == [("n253", "resources"), ("n254", "resources")]
    assert len(found(changes, many, machine=Machine(hugepages=2 * 250))) == 5


def test_a_new_place_is_of_no_concern_to_what_goes_on() -> None:
    web = spec("web")
    places: dict[str, VnicdError] = {"web": Exists("there")}
    assert codes(found([of("replace", web)], [web], machine=Machine(places=places))) == [("web", "exists")]
    assert found([of("change", web)], [web], machine=Machine(places=places)) == []


def test_an_mtu_that_does_not_suit_what_was_filled_in() -> None:
    web = PartitionSpec("web", ("fd78::2/64",), "02:00:00:00:00:05", mtu=700)
    assert codes(found([of("add", web)], [web])) == [("web", "invalid")]


def test_only_the_nics_own_limit_counts() -> None:
    assert mtu_obstacle(spec("web"), "eth1", 576) is None
    assert mtu_obstacle(spec("web", mtu=1500), "eth1", 1500) is None
    assert mtu_obstacle(spec("web", mtu=1501), "eth1", 1500) is not None


def test_only_addresses_outside_the_subnets_are_routed() -> None:
    web = spec("web", "10.78.0.2/24", "10.5.0.1/24", "fd00::1/64")
    assert Aim({"web": web}, NAT).routed() == ["10.5.0.1", "fd00::1"]
    assert Aim({"web": web}, BRIDGE).routed() == ["10.78.0.2", "10.5.0.1", "fd00::1"]
    assert Aim({"web": web}, None).routed() == []
