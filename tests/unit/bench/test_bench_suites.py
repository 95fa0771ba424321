"""The benchmark's suites fit together: bars name figures that there are, and rivals have the same shape."""

from __future__ import annotations

import ipaddress

import click
import pytest

from tests.bench.__main__ import names, offered, selection
from tests.bench.sockets import IDLE, PRELOAD, SOCKET_NOISE_SUITES, SOCKET_SUITES, SOCKETS, Direct, Loopback
from tests.bench.suites import (
    BRIDGE,
    NAT,
    NOISE_SUITES,
    SUITES,
    UPLINK_NOISE_SUITES,
    UPLINK_SUITES,
    Suite,
    against_itself,
)
from tests.bench.uplink import GATEWAY, MACHINE, SUBNET, BehindNic

COMPARING = (*SUITES, *UPLINK_SUITES, *SOCKET_SUITES)
ALL = (*COMPARING, *NOISE_SUITES, *UPLINK_NOISE_SUITES, *SOCKET_NOISE_SUITES)


def metrics(suite: Suite) -> list[str]:
    return [metric.name for load in suite.workloads for metric in load.metrics]


@pytest.mark.parametrize("suite", COMPARING, ids=lambda suite: suite.name)
def test_bars_are_for_figures_that_are_measured(suite: Suite) -> None:
    assert suite.bars
    assert set(suite.bars) <= set(metrics(suite))


@pytest.mark.parametrize("suite", ALL, ids=lambda suite: suite.name)
def test_no_two_workloads_of_a_suite_give_the_same_figure(suite: Suite) -> None:
    assert len(set(metrics(suite))) == len(metrics(suite))
    assert len({load.name for load in suite.workloads}) == len(suite.workloads)


@pytest.mark.parametrize("suite", ALL, ids=lambda suite: suite.name)
def test_figures_are_told_apart_by_environments_of_different_names(suite: Suite) -> None:
    assert len({kind.name for kind in suite.environments}) == len(suite.environments)
    assert len(suite.environments) == (3 if suite is SOCKETS else 2)


def test_direct_sockets_are_compared_with_the_same_but_for_one_thing() -> None:
    crowded, alone = IDLE.environments
    assert issubclass(crowded, Direct) and issubclass(alone, Direct)
    assert (crowded.idle_connections, alone.idle_connections) == (1000, 0)
    assert all(issubclass(kind, Loopback) for kind in PRELOAD.environments)
    assert {kind(1500).address["b"] for kind in PRELOAD.environments} == {"127.0.0.1"}


def test_noise_is_the_reference_twice_and_has_no_bars() -> None:
    noise = against_itself(BRIDGE, "noise-bridge")
    again, reference = noise.environments
    assert reference is BRIDGE.environments[1]
    assert issubclass(again, reference)
    assert (again.name, again.make) == (f"{reference.name} again", reference.make)
    assert noise.workloads == BRIDGE.workloads
    assert not noise.bars


@pytest.mark.parametrize("suite", UPLINK_SUITES, ids=lambda suite: suite.name)
def test_the_uplink_and_its_rival_have_the_same_addresses(suite: Suite) -> None:
    ours, theirs = (kind(1500) for kind in suite.environments)
    assert isinstance(ours, BehindNic) and isinstance(theirs, BehindNic)
    assert (ours.address, ours.mode) == (theirs.address, theirs.mode)
    assert ours.inside_address == theirs.inside_address


def test_in_bridge_mode_all_are_in_one_subnet() -> None:
    environment = BRIDGE.environments[0](1500)
    assert isinstance(environment, BehindNic)
    inside, machine = ipaddress.ip_interface(environment.inside_address), ipaddress.ip_interface(MACHINE)
    assert str(inside.ip) == environment.address["b"]
    assert inside.network == machine.network
    assert ipaddress.ip_address(environment.address["a"]) in machine.network


def test_in_nat_mode_the_inside_has_the_gateway_and_not_the_remote_in_its_subnet() -> None:
    environment = NAT.environments[0](1500)
    assert isinstance(environment, BehindNic)
    inside = ipaddress.ip_interface(environment.inside_address)
    assert str(inside.ip) == environment.address["a"]
    assert inside.network == ipaddress.ip_network(SUBNET)
    assert ipaddress.ip_address(GATEWAY) in inside.network
    assert not inside.network.overlaps(ipaddress.ip_interface(MACHINE).network)
    assert ipaddress.ip_address(environment.address["b"]) in ipaddress.ip_interface(MACHINE).network


def test_the_uplink_has_figures_for_each_direction() -> None:
    for suite in UPLINK_SUITES:
        tcp = {"tcp", "tcp_back", "tcp_half", "tcp_back_half", "tcp_p50"}
        assert tcp | {"udp", "udp_back"} == set(suite.bars)
    assert [load.metrics[0].title for load in BRIDGE.workloads if load.name.startswith("tcp")] == [
        "TCP, one stream, from the remote",
        "TCP, one stream, to the remote",
        "TCP, from the remote, beside a half-busy core",
        "TCP, to the remote, beside a half-busy core",
        "TCP ping-pong, half RTT, p50",
    ]
    assert NAT.workloads[0].metrics[0].title == "TCP, one stream, to the remote"


@pytest.mark.parametrize(
    ("uplink", "noise", "present", "absent"),
    [
        (
            False,
            False,
            {"frames", "frames.udp_clean", "scale.tcp", "cost", "cost.memory"},
            {"bridge", "noise"},
        ),
        (True, False, {"bridge", "bridge.tcp_back", "nat.tcp_pp"}, {"frames", "cost", "cost.memory"}),
        (False, True, {"noise", "noise.tcp4"}, {"frames", "cost", "noise-nat"}),
        (True, True, {"noise-bridge", "noise-nat.udp"}, {"noise", "bridge", "cost"}),
    ],
)
def test_what_there_is_to_choose_from(uplink: bool, noise: bool, present: set[str], absent: set[str]) -> None:
    known = names(*offered(uplink, noise))
    assert present <= set(known)
    assert not absent & set(known)
    assert len(set(known)) == len(known)


@pytest.mark.parametrize("noise", [False, True])
def test_what_there_is_to_choose_from_of_direct_sockets(noise: bool) -> None:
    known = set(names(*offered(uplink=False, noise=noise, sockets=True)))
    wanted = (
        {"noise-sockets.redis_1"} if noise else {"sockets.redis_1", "sockets.pgbench", "idle", "preload.http"}
    )
    assert wanted <= known
    assert not {"frames", "cost", "bridge"} & known


def test_a_selection_is_by_suite_or_by_workload() -> None:
    known = names(*offered(uplink=True, noise=False))
    assert BRIDGE.chosen(selection("", known)) == BRIDGE.workloads
    assert BRIDGE.chosen(selection("bridge", known)) == BRIDGE.workloads
    assert not BRIDGE.chosen(selection("nat", known))
    assert [load.name for load in NAT.chosen(selection("bridge, nat.udp", known))] == ["udp"]


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(click.UsageError, match=r"nothing is called frames\.tcp"):
        selection("bridge,frames.tcp", names(*offered(uplink=True, noise=False)))
