"""The verdict of a check on TCP ports, firewalls, and the way outside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.unit.check.pairs import (
    causes,
    green,
    outside,
    pair,
    stopped_daemon,
    unknown,
    up_to,
    vanishes,
    whole,
)
from vnicd.check.facts import (
    Address,
    Facts,
    Kind,
    Listener,
    Neighbour,
    Route,
    Tally,
    Trace,
)
from vnicd.check.verdict import Verdict, judge

# --------------------------------------------------------------------------------------------------- TCP


def tcp(facts: Facts, trace: Trace, *listeners: Listener) -> Verdict:
    facts.tcp_port, facts.ways[0].tcp = 80, trace
    green(facts).listeners = list(listeners)
    return judge(facts)


REFUSED = up_to("receive", Kind.TCP, reset=True, error="Connection refused")


def test_tcp_works_though_echo_requests_are_filtered() -> None:
    facts = pair()
    vanishes(facts, "answer")
    verdict = tcp(facts, whole(Kind.TCP), Listener("0.0.0.0"))
    assert verdict.is_well and "green answers no echo requests" in verdict.notes[0]


@pytest.mark.parametrize(
    ("trace", "listeners", "words"),
    [
        (REFUSED, [], "nothing listens on TCP port 80 in green"),
        (REFUSED, [Listener("127.0.0.1"), Listener("::1")], "listens on 127.0.0.1, ::1 only"),
        (up_to("answer", Kind.TCP), [Listener("::", 6, 5)], "backlog of port 80 in green is full: 6 connections wait"),
        (REFUSED, [Listener("10.77.0.2")], "arrived at green, which refuses it"),
        (up_to("cross", Kind.TCP), [Listener("0.0.0.0")], "the TCP segment left blue and did not arrive at green"),
    ],
)  # fmt: skip
def test_tcp_does_not_work(trace: Trace, listeners: list[Listener], words: str) -> None:
    assert words in causes(tcp(pair(), replace(trace), *listeners))


def test_a_service_of_one_family() -> None:
    facts = pair()
    facts.ways[0].tcp, facts.tcp_port = whole(Kind.TCP), 80
    facts.ways.append(
        replace(facts.ways[0], version=6, target="fd77::2", next_hop="fd77::2", tcp=replace(REFUSED))
    )
    facts.near.addresses = facts.far.addresses = ()
    green(facts).addresses.append(Address("vnic0", "fd77::2/64"))
    green(facts).listeners = [Listener("10.77.0.2")]
    verdict = judge(facts)
    assert verdict.is_well and verdict.notes == ["port 80 in green listens on 10.77.0.2 only (IPv6)"]
    assert [step.status for step in verdict.steps if step.name == "tcp"] == ["ok", "warn"]
    facts.ways[0].tcp = replace(REFUSED)
    assert not judge(facts).reached


def test_what_keeps_out_tcp_and_echo_requests_is_one_cause() -> None:
    facts = pair()
    stopped_daemon(facts)
    verdict = tcp(facts, up_to("cross", Kind.TCP), Listener("0.0.0.0"))
    assert len(verdict.findings) == 1 and "is stopped" in causes(verdict)


@pytest.mark.parametrize("stage", ["cross", "answer"])
def test_tcp_waits_for_the_neighbour_too(stage: str) -> None:
    facts = outside()
    unknown(facts, stage)
    facts.tcp_port, facts.ways[0].tcp = 80, up_to("leave", Kind.TCP)
    assert causes(judge(facts)).startswith("the gateway 10.77.0.254")
    facts.ways[0].there, facts.ways[0].next_hop = Route(dev="vnic0"), "192.0.2.1"
    assert causes(judge(facts)) == "nobody answers for 192.0.2.1"


# ------------------------------------------------------------------------------------------------ firewalls


def test_a_firewall_is_named_where_the_probe_vanished() -> None:
    chain = {"family": "inet", "table": "t", "name": "in", "hook": "input", "policy": "drop"}
    facts = pair()
    facts.far.after = facts.near.after = Tally(nft={"nftables": [{"chain": chain}]})
    assert judge(facts).is_well
    vanishes(facts, "answer")
    verdict = judge(facts)
    assert "the firewall of green drops it: chain in (table inet t, hook input): policy drop" in causes(
        verdict
    )
    vanishes(facts, "receive")
    assert "the firewall of blue" in causes(judge(facts))


def test_the_machine_forwards_neither_way() -> None:
    chain = {"family": "inet", "table": "mine", "name": "fw", "hook": "forward", "policy": "drop"}
    for stage in ("cross", "return"):
        facts = outside()
        facts.vnic, facts.is_routed = "vnicd0", True
        facts.far.after = Tally(nft={"nftables": [{"chain": chain}]})
        vanishes(facts, stage)
        (finding,) = judge(facts).findings
        assert finding.cause.startswith("the firewall of the machine drops it: chain fw"), stage
        insert = "nft insert rule inet mine fw"
        assert finding.remedy == f"{insert} iifname vnicd0 accept && {insert} oifname vnicd0 accept"


def test_no_daemon_is_blamed_for_what_an_answer_from_outside_does_not_reach() -> None:
    facts = outside()
    facts.near.given = 0
    vanishes(facts, "return")
    (finding,) = judge(facts).findings
    assert "does not get from the uplink to blue" in finding.cause
    assert not {"kill", "debug"} & set(finding.remedy.split())


# --------------------------------------------------------------------------------------------------- outside


def no_uplink(facts: Facts) -> None:
    facts.uplink = None
    unknown(facts, "cross")


def uplink_down(facts: Facts) -> None:
    facts.uplink = {"nic": "eth1", "mode": "nat", "state": "down", "reason": "set down"}
    vanishes(facts, "cross")


def not_known_at_the_wire(facts: Facts) -> None:
    facts.ways[0].onward, facts.ways[0].onward_neighbour = Route(dev="eth1"), Neighbour("", "failed")
    vanishes(facts, "cross")


def a_partition_as_gateway(facts: Facts) -> None:
    facts.ways[0].neighbour = Neighbour("02:00:00:00:00:03", "reachable")
    vanishes(facts, "cross")


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (no_uplink, "no partition has the address 192.0.2.1, and there is no uplink"),
        (uplink_down, "the uplink eth1 is down: set down"),
        (not_known_at_the_wire, "nobody answers for 192.0.2.1 at eth1 of the machine"),
        (a_partition_as_gateway, "(red), which does not pass it on"),
        (lambda facts: vanishes(facts, "answer"), "left by the uplink, and 192.0.2.1 does not answer"),
    ],
)
def test_the_way_outside(harm: Callable[[Facts], None], words: str) -> None:
    facts = outside()
    assert judge(facts).is_well
    harm(facts)
    assert words in causes(judge(facts))


def steps(facts: Facts) -> dict[str, str]:
    return {step.name: f"{step.status} {step.detail}" for step in judge(facts).steps}


def test_a_target_that_is_off_fails_behind_the_uplink() -> None:
    facts = outside()
    not_known_at_the_wire(facts)
    assert steps(facts)["uplink"] == "ok eth1 (nat) is up"
    assert steps(facts)["crossed"] == "failed nobody answers for 192.0.2.1 at eth1"


def test_an_address_that_only_the_kernel_knows_is_forbidden() -> None:
    facts = outside()
    assert facts.near.scene is not None
    facts.near.scene.addresses.append(Address("vnic0", "10.77.0.9/24"))
    facts.guarded, facts.ways[0].source = True, "10.77.0.9"
    vanishes(facts, "cross")
    (finding,) = judge(facts).findings
    words = "--address 10.77.0.1/24 --address 10.77.0.9/24"
    assert finding.remedy == f"add it with: vnicctl partition set blue {words}, or remove it"


@pytest.mark.parametrize(
    ("free", "words"),
    [
        ({"blue": ["10.78.0.2/24"]}, "--address 10.78.0.2/24 --gateway 10.78.0.1"),
        ({}, "--address CIDR --gateway ADDRESS"),
    ],
)
def test_no_address_for_the_way_outside(free: dict[str, list[str]], words: str) -> None:
    facts = outside()
    assert facts.uplink is not None and facts.near.scene is not None
    facts.uplink |= {"without_address": free, "subnets": ["10.78.0.1/24"] if free else []}
    facts.near.addresses, facts.near.scene.addresses = (), [Address("vnic0", "169.254.0.7/16")]
    facts.ways[0].source, facts.ways[0].there = "", Route(error="Network is unreachable")
    facts.ways[0].echo = Trace(error="Network is unreachable")
    (finding,) = judge(facts).findings
    assert finding.remedy == f"vnicctl partition set blue {words}"
    assert steps(facts)["addresses"] == "failed blue has no address"
    assert steps(facts)["route"].startswith("failed ")
