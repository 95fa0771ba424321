"""The verdict of a check: each breakage by its facts, and the cause that is named for it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.unit.check.pairs import (
    BLUE,
    GREEN,
    blue,
    causes,
    green,
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
    Holder,
    Neighbour,
    Refusal,
    Route,
    Rule,
    Tally,
)
from vnicd.check.verdict import judge


def test_all_is_well() -> None:
    verdict = judge(pair())
    assert verdict.is_well and verdict.path == "direct" and verdict.rtt_ms == 0.2
    assert {step.status for step in verdict.steps} == {"ok"} and not verdict.notes


def frozen_daemon(facts: Facts) -> None:
    facts.near.daemon.state = "frozen"
    vanishes(facts, "cross")


def full_daemon(facts: Facts) -> None:
    facts.far.daemon.files, facts.far.daemon.most_files = 1020, 1024
    vanishes(facts, "cross")


def failed_partition(facts: Facts) -> None:
    facts.far.state, facts.far.reason = "failed", "vnic0 is somebody else's"
    unknown(facts, "cross")


def stopped_host(facts: Facts) -> None:
    facts.host.state = "stopped"
    unknown(facts, "cross")


def dead_host(facts: Facts) -> None:
    facts.host.state = "dead"
    vanishes(facts, "cross")


def interface_down(facts: Facts) -> None:
    green(facts).links["vnic0"].is_up = False
    unknown(facts, "cross")


def own_interface_down(facts: Facts) -> None:
    blue(facts).links["vnic0"].is_up = False
    facts.ways[0].there = Route(error="Network is unreachable")
    vanishes(facts, "leave", error="Network is unreachable")


def other_mac(facts: Facts) -> None:
    blue(facts).links["vnic0"].mac = "02:00:00:00:99:99"
    unknown(facts, "cross")


def other_mac_of_green(facts: Facts) -> None:
    green(facts).links["vnic0"].mac = "02:00:00:00:99:99"
    vanishes(facts, "answer", for_other=True)


def static_neighbour(facts: Facts) -> None:
    facts.ways[0].neighbour = Neighbour("02:00:00:00:00:03", "permanent")
    vanishes(facts, "cross", target_mac="02:00:00:00:00:03")


def no_arp(facts: Facts) -> None:
    green(facts).links["vnic0"].no_arp = True
    unknown(facts, "answer")


def arp_ignored(facts: Facts) -> None:
    green(facts).sysctls = {"ipv4/conf/all/arp_ignore": "8", "ipv4/conf/vnic0/arp_ignore": "0"}
    unknown(facts, "answer")


def short_prefix(facts: Facts) -> None:
    green(facts).addresses[1] = Address("vnic0", "10.77.0.2/31")
    facts.ways[0].back = Route(error="Network is unreachable")
    vanishes(facts, "answer")


def lost_address(facts: Facts) -> None:
    del green(facts).addresses[1]
    unknown(facts, "answer")


def lost_own_address(facts: Facts) -> None:
    del blue(facts).addresses[1]
    facts.ways[0].there = Route(error="Network is unreachable")
    vanishes(facts, "leave", error="Network is unreachable")


def address_elsewhere(facts: Facts) -> None:
    green(facts).addresses[1] = Address("dummy0", "10.77.0.2/24")
    vanishes(facts, "answer")


def address_of_blue_itself(facts: Facts) -> None:
    blue(facts).addresses.append(Address("lo", "10.77.0.2/32"))
    facts.ways[0].there = Route(dev="lo", is_local=True)


def answered_by_another(facts: Facts) -> None:
    facts.ways[0].echo = whole(arrived=False, answered=False, target_mac="02:00:00:00:00:03")
    facts.ways[0].holders = (Holder("red", "vnic0", "10.77.0.2/24"),)
    facts.ways[0].neighbour = Neighbour("02:00:00:00:00:03", "reachable")


def lost_route(facts: Facts) -> None:
    facts.ways[0].there = Route(error="Network is unreachable")
    vanishes(facts, "leave", error="Network is unreachable")


def lost_route_back(facts: Facts) -> None:
    facts.ways[0].back = Route(error="Network is unreachable")
    vanishes(facts, "answer")


def no_gateway(facts: Facts) -> None:
    facts.ways[0].target = facts.ways[0].next_hop = "10.99.0.1"
    facts.far.addresses = ("10.99.0.1/24",)
    green(facts).addresses[1] = Address("vnic0", "10.99.0.1/24")
    facts.ways[0].there = Route(error="Network is unreachable")
    vanishes(facts, "leave", error="Network is unreachable")


def silent_gateway(facts: Facts) -> None:
    facts.near.gateways = ("10.77.0.254",)
    facts.ways[0].there, facts.ways[0].next_hop = Route(dev="vnic0", gateway="10.77.0.99"), "10.77.0.99"
    blue(facts).addresses[1] = Address("vnic0", "10.77.0.1/31")
    facts.near.addresses = ("10.77.0.1/31",)
    unknown(facts, "cross")


def blackhole(facts: Facts) -> None:
    blue(facts).refusing = [("0.0.0.0/0", "unreachable"), ("10.77.0.2/32", "blackhole")]
    facts.ways[0].there = Route(error="Invalid argument")
    vanishes(facts, "leave", error="Invalid argument")


def policy_rule(facts: Facts) -> None:
    rules = [Rule(100, "100: to 10.88.0.0/16 lookup 5", "10.88.0.0/16"), Rule(200, "200: lookup 7")]
    green(facts).rules = {4: rules}
    facts.ways[0].back = Route(dev="vnic0", gateway="10.77.0.3")
    vanishes(facts, "return")
    facts.ways[0].echo = up_to("answer")


def diverted(facts: Facts) -> None:
    facts.ways[0].there = Route(dev="eth1", source="10.77.0.1")
    facts.ways[0].neighbour = Neighbour()
    vanishes(facts, "leave")


def reverse_path(facts: Facts) -> None:
    facts.far.before, facts.far.after = (
        Tally({"TcpExt.IPReversePathFilter": 1}),
        Tally({"TcpExt.IPReversePathFilter": 4}),
    )
    vanishes(facts, "answer")


def echo_ignored(facts: Facts) -> None:
    green(facts).sysctls = {"ipv4/icmp_echo_ignore_all": "1"}
    vanishes(facts, "answer")


def in_a_bridge(facts: Facts) -> None:
    green(facts).links["vnic0"].master = "bridge br0"
    vanishes(facts, "answer")


def xdp(facts: Facts) -> None:
    green(facts).links["vnic0"].xdp = True
    vanishes(facts, "cross")


def tc_filter(facts: Facts) -> None:
    blue(facts).filters = ["egress"]
    unknown(facts, "leave")


def queue(facts: Facts) -> None:
    facts.near.before, facts.near.after = Tally(dropped={"tbf": 2}), Tally(dropped={"tbf": 5})
    unknown(facts, "leave")


def unknown_drop(facts: Facts) -> None:
    facts.near.drops = {"storm": 3}
    vanishes(facts, "cross")


def hanging_daemon(facts: Facts) -> None:
    facts.near.taken = 0
    vanishes(facts, "cross")


def hanging_daemon_of_green(facts: Facts) -> None:
    facts.far.given = 0
    vanishes(facts, "cross")


def refused_by_icmp(facts: Facts) -> None:
    vanishes(facts, "answer", refusals=[Refusal("10.77.0.2", 3, 13)])


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (stopped_daemon, "daemon of green, pid 12, is stopped"),
        (frozen_daemon, "daemon of blue, pid 11, is frozen"),
        (full_daemon, "1020 of 1024 descriptors"),
        (failed_partition, "green can't be brought back: vnic0 is somebody else's"),
        (stopped_host, "hosting daemon, pid 10, is stopped"),
        (dead_host, "hosting daemon is dead"),
        (interface_down, "vnic0 of green is down"),
        (own_interface_down, "vnic0 of blue is down"),
        (other_mac, f"vnic0 of blue has the MAC 02:00:00:00:99:99, and vnicd takes frames of {BLUE} only"),
        (other_mac_of_green, f"vnicd takes frames of {GREEN} only"),
        (static_neighbour, "02:00:00:00:00:03, that of red for the MAC of 10.77.0.2"),
        (no_arp, "vnic0 of green does no ARP"),
        (arp_ignored, "arp_ignore is 8"),
        (short_prefix, "10.77.0.2/31 instead of 10.77.0.2/24"),
        (lost_address, "green has lost its address 10.77.0.2/24"),
        (lost_own_address, "blue has lost its address 10.77.0.1/24"),
        (address_elsewhere, "is on dummy0, not on vnic0"),
        (address_of_blue_itself, "blue has the address 10.77.0.2 of green itself, on lo"),
        (answered_by_another, "red has the address 10.77.0.2 of green, too"),
        (lost_route, "blue has lost the route of its subnet 10.77.0.0/24"),
        (lost_route_back, "green has lost the route of its subnet"),
        (no_gateway, "blue has no route to 10.99.0.1"),
        (silent_gateway, "blue sends to 10.77.0.2 by the gateway 10.77.0.99, and was given 10.77.0.254"),
        (blackhole, "blackhole 10.77.0.2/32"),
        (policy_rule, "goes by the gateway 10.77.0.3 by a policy rule: 200: lookup 7"),
        (diverted, "leads to eth1"),
        (reverse_path, "rp_filter"),
        (echo_ignored, "icmp_echo_ignore_all is 1"),
        (in_a_bridge, "part of the bridge br0"),
        (xdp, "XDP program"),
        (tc_filter, "tc filter at the egress of vnic0 of blue"),
        (queue, "queueing discipline tbf"),
        (unknown_drop, "dropped 3 frames meanwhile as storm"),
        (hanging_daemon, "daemon of blue, pid 11, takes no frames from vnic0"),
        (hanging_daemon_of_green, "gives none to vnic0"),
        (refused_by_icmp, "green refuses it by ICMP: administratively prohibited"),
        (lambda facts: vanishes(facts, "receive"), "answer of green arrives at blue, which does not take it"),
    ],
)  # fmt: skip
def test_the_cause_is_named(harm: Callable[[Facts], None], words: str) -> None:
    facts = pair()
    harm(facts)
    verdict = judge(facts)
    assert words in verdict.findings[0].cause
    assert not verdict.reached and len(verdict.findings) == 1 and verdict.findings[0].remedy
    assert "failed" in {step.status for step in verdict.steps}


@pytest.mark.parametrize(
    ("harm", "name", "words"),
    [
        (lost_address, "addresses", "failed green has lost 10.77.0.2/24"),
        (lost_route, "route", "failed blue: none (Network is unreachable); green: vnic0"),
        (full_daemon, "daemons", "failed host up, blue up, green up without free descriptors"),
        (other_mac, "interfaces", "failed blue vnic0 up, MTU 1500, MAC 02:00:00:00:99:99; green vnic0 up, MTU 1500"),
        (xdp, "interfaces", "failed blue vnic0 up, MTU 1500; green vnic0 up, MTU 1500, XDP"),
    ],
)  # fmt: skip
def test_a_step_that_failed_does_not_read_as_if_all_were_well(
    harm: Callable[[Facts], None], name: str, words: str
) -> None:
    facts = pair()
    harm(facts)
    (step,) = (each for each in judge(facts).steps if each.name == name)
    assert f"{step.status} {step.detail}" == words


@pytest.mark.parametrize(("number", "name"), [(0, "blue"), (1, "green")])
def test_names_are_not_answered_where_lo_is_down(number: int, name: str) -> None:
    facts = pair()
    (blue, green)[number](facts).links["lo"].is_up = False
    text = f"lo of {name} is down, so names are not answered there"
    assert judge(facts).notes == [f"{text}: vnicctl exec {name} -- ip link set lo up"]


# ------------------------------------------------------------------------------ wrong, though probes come through


def test_a_duplicate_is_named_also_while_the_right_one_answers() -> None:
    facts = pair()
    facts.ways[0].holders = (Holder("red", "vnic0", "10.77.0.2/24"),)
    verdict = judge(facts)
    assert verdict.reached and not verdict.is_well
    assert verdict.findings[0].remedy == "vnicctl exec red -- ip address del 10.77.0.2/24 dev vnic0"


def test_mtus_that_differ() -> None:
    facts = pair()
    green(facts).links["vnic0"].mtu = 1400
    verdict = judge(facts)
    assert verdict.reached and "blue has 1500, green has 1400" in causes(verdict)
    (step,) = (each for each in verdict.steps if each.name == "large")
    words = "packets of 1500 bytes come through, but the MTUs differ: 1500 and 1400"
    assert (step.status, step.detail) == ("warn", words)
    remedy = "vnicctl exec green -- ip link set vnic0 mtu 1500"
    assert verdict.findings[0].remedy == f"vnicd puts it back within 3 s; or: {remedy}"


def test_a_path_that_takes_less() -> None:
    facts = pair()
    facts.ways[0].large = up_to("cross", refusals=[Refusal("10.77.0.9", 3, 4, 1300)])
    assert "the path takes 1300 bytes, says 10.77.0.9" in causes(judge(facts))


def test_a_host_that_is_stopped_while_the_direct_link_works() -> None:
    facts = pair()
    facts.host.state = "stopped"
    verdict = judge(facts)
    assert verdict.reached and verdict.findings[0].remedy == "kill -CONT 10"


def test_only_the_other_way_is_filtered() -> None:
    facts = pair()
    facts.ways[0].echo_back = up_to("answer")
    verdict = judge(facts)
    assert verdict.is_well and verdict.notes == [
        "blue answers no echo requests of green (IPv4); to know why: vnicctl check green blue"
    ]
