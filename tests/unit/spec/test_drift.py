"""Drift: what counts as different, and what of it is put back, in namespaces of ours and of others."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vnicd.spec.drift import DefaultRoute, Drift, Kind, Seen, drift, to_mend, was_set_down
from vnicd.spec.partition import make_partition

MAC = "02:00:00:00:00:01"
ADDRESSES = ("10.0.0.1/24", "fd00::1/64")
SPEC = make_partition("blue", ADDRESSES, MAC, None, None, None, ("10.0.0.254", "fd00::ff"), None)
OWN4, OWN6 = DefaultRoute(4, "10.0.0.254", True, 0), DefaultRoute(6, "fd00::ff", True, 1024)
WHOLE = Seen(2, "vnic0", MAC, 1500, True, False, ADDRESSES, (OWN4, OWN6), True, 100)
VPN = DefaultRoute(4, "", False, 0)


def kinds(seen: Seen, mtu: int | None = 1500) -> list[str]:
    return [each.kind.value for each in drift(SPEC, mtu, seen)]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({}, []),
        ({"addresses": (*ADDRESSES, "10.9.9.9/8"), "routes": (OWN4, OWN6, replace(VPN, metric=100))}, []),
        ({"ifname": "eth0"}, ["name"]),
        ({"mac": "02:00:00:00:00:99"}, ["mac"]),
        ({"mtu": 1400}, ["mtu"]),
        ({"addresses": ADDRESSES[:1]}, ["address"]),
        ({"addresses": ("10.0.0.1/16", "fd00::1/64")}, ["address"]),
        ({"routes": (OWN4,)}, ["route"]),
        ({"routes": (OWN6, VPN)}, ["other route"]),
        ({"routes": (OWN6, replace(VPN, metric=50))}, ["route"]),
        ({"routes": (OWN4, replace(OWN6, gateway="fe80::1", is_advertised=True))}, ["route"]),
        ({"routes": (), "knows_routes": False}, []),
        ({"is_up": False, "addresses": (), "routes": ()}, ["down"]),
        ({"is_up": False, "mtu": 1400}, ["down", "mtu"]),
    ],
)  # fmt: skip
def test_what_is_different(change: dict[str, object], found: list[str]) -> None:
    assert kinds(replace(WHOLE, **change)) == found  # type: ignore[arg-type]


def test_an_mtu_that_is_not_decided_yet_is_not_different() -> None:
    assert kinds(replace(WHOLE, mtu=9000), mtu=None) == []


@pytest.mark.parametrize("netns", ["", "/run/netns/web", "/proc/7/ns/net"])
def test_the_remedy_is_a_command_for_the_namespace(netns: str) -> None:
    spec = replace(SPEC, netns=netns)
    lost = drift(spec, 1500, replace(WHOLE, addresses=(), routes=(), mtu=9, mac="?", ifname="eth0"))
    assert len(lost) == 7
    assert all(each.remedy.startswith("vnicctl exec blue -- ip ") for each in lost)


def test_a_name_is_a_word_of_the_remedy_and_no_command() -> None:
    """The partition's root can call its interface anything, and somebody may paste the remedy into a root shell."""
    lost = drift(SPEC, 1500, replace(WHOLE, ifname="$(reboot)\x1b[2J", routes=()))
    assert {each.kind.value for each in lost} == {"name", "route"}
    for each in lost:
        assert r"'$(reboot)\x1b[2J'" in each.remedy
        assert (each.text + each.remedy).isprintable()


def lost_all(**change: object) -> tuple[list[Drift], Seen]:
    seen = replace(WHOLE, ifname="eth0", mac="?", mtu=1, addresses=(), routes=(VPN,), **change)  # type: ignore[arg-type]
    return drift(SPEC, 1500, seen), seen


def test_in_a_namespace_of_ours_all_comes_back_but_what_was_meant() -> None:
    found, seen = lost_all()
    mended = [each.kind.value for each in to_mend(found, seen, is_ours=True, dropped=False)]
    assert mended == ["mac", "mtu", "address", "address", "route"]


@pytest.mark.parametrize(("dropped", "values"), [(False, []), (True, ["fd00::1/64", "fd00::ff"])])
def test_in_a_namespace_of_another_only_what_the_kernel_has_dropped(dropped: bool, values: list[str]) -> None:
    found, seen = lost_all()
    assert [each.value for each in to_mend(found, seen, is_ours=False, dropped=dropped)] == values


@pytest.mark.parametrize("change", [{"is_up": False}, {"has_master": True}])
def test_an_interface_that_is_down_or_part_of_another_is_left_alone(change: dict[str, object]) -> None:
    assert to_mend(*lost_all(**change), is_ours=True, dropped=True) == []


@pytest.mark.parametrize(
    ("last", "now", "was"),
    [
        (None, {}, False),
        ({}, {}, False),
        ({"is_up": False}, {}, True),
        ({}, {"is_up": False}, False),
        ({}, {"link_local_made": 101}, True),
        ({"link_local_made": 0}, {"link_local_made": 101}, False),
        ({"is_up": False}, {"index": 3}, False),
    ],
)
def test_an_interface_that_was_set_down_and_up(
    last: dict[str, object] | None, now: dict[str, object], was: bool
) -> None:
    before = None if last is None else replace(WHOLE, **last)  # type: ignore[arg-type]
    assert was_set_down(before, replace(WHOLE, **now)) is was  # type: ignore[arg-type]


def test_only_some_of_it_cuts_a_partition_off() -> None:
    fatal = {kind for kind in Kind if Drift(kind, "", "").is_fatal}
    assert fatal == {Kind.DOWN, Kind.MAC}
