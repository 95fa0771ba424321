"""ADD, DEL, CHECK and GC: what the hosting daemon is asked, and what a runtime is told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.component.cni.conftest import MADE, Plugin
from vnicd.errors import Busy, Exists, NotFound

GIVEN = {
    "cniVersion": "1.0.0",
    "ips": [{"address": "10.77.0.5/24", "gateway": "10.77.0.1"}],
    "routes": [{"dst": "0.0.0.0/0"}, {"dst": "10.8.0.0/16", "gw": "10.77.0.8"}, {"dst": "10.7.0.0/16"}],
}
LEASE = json.dumps(GIVEN)


def test_a_result(plugin: Plugin) -> None:
    status, result = plugin.run("ADD")
    assert status == 0
    assert result == {
        "cniVersion": "1.0.0",
        "interfaces": [{"name": "eth0", "mac": "02:00:00:00:00:01", "sandbox": "/run/netns/c1"}],
        "ips": [
            {"address": "10.77.0.1/24", "interface": 0, "gateway": "10.77.0.254"},
            {"address": "fd00:77::1/64", "interface": 0},
        ],
        "routes": [{"dst": "0.0.0.0/0", "gw": "10.77.0.254"}, {"dst": "10.9.0.0/16", "gw": "10.77.0.9"}],
    }
    (params,) = plugin.asked("partition.add")
    owner = {"cni/network": "net", "cni/container": "c1", "cni/interface": "eth0"}
    assert params["owner"] == owner
    assert (params["netns"], params["ifname"]) == ("/run/netns/c1", "eth0")


def test_results_of_other_versions(plugin: Plugin) -> None:
    old = plugin.run("ADD", cniVersion="0.4.0")[1]
    assert [each["version"] for each in old["ips"]] == ["4", "6"]
    assert plugin.run("ADD", cniVersion="1.1.0")[1]["interfaces"][0]["mtu"] == 1500


def test_what_plugins_before_have_made_is_handed_on(plugin: Plugin) -> None:
    before = {"interfaces": [{"name": "lo", "sandbox": "/run/netns/c1"}], "ips": [{"address": "127.0.0.1/8"}]}
    result = plugin.run("ADD", prevResult=before)[1]
    assert [each["name"] for each in result["interfaces"]] == ["lo", "eth0"]
    assert [each.get("interface") for each in result["ips"]] == [None, 1, 1]


@pytest.mark.parametrize(
    ("config", "environment", "asked"),
    [
        ({"runtimeConfig": {"mac": "02:00:00:00:00:0a"}}, {}, {"mac": "02:00:00:00:00:0a"}),
        ({"runtimeConfig": {"ips": ["10.77.0.9/24"]}}, {}, {"addresses": ["10.77.0.9/24"]}),
        ({"args": {"cni": {"ips": ["10.77.0.9"]}}}, {}, {"addresses": ["10.77.0.9"]}),
        (
            {},
            {"CNI_ARGS": "IgnoreUnknown=1;IP=10.77.0.9;MAC=02:00:00:00:00:0b"},
            {"addresses": ["10.77.0.9"], "mac": "02:00:00:00:00:0b"},
        ),
        ({}, {"CNI_ARGS": "K8S_POD_NAME=web"}, {"aliases": ["web"]}),
        (
            {"runtimeConfig": {"aliases": {"net": ["db", "store"], "other": ["x"]}}},
            {},
            {"aliases": ["db", "store"]},
        ),
        ({"mtu": 9000}, {}, {"mtu": 9000}),
        (
            {"runtimeConfig": {"bandwidth": {"IngressRate": 1000000, "EgressRate": 2000000}}},
            {},
            {"rate": 2000000, "rate_in": 1000000},
        ),
        (
            {"runtimeConfig": {"bandwidth": {"egressRate": 2000000}}},
            {},
            {"rate": 2000000, "rate_in": 1000000000000},
        ),
        ({"runtimeConfig": {"bandwidth": {"ingressRate": 1000000}}}, {}, {"rate_in": 1000000}),
    ],
)
def test_what_is_asked_for(
    plugin: Plugin, config: dict[str, Any], environment: dict[str, str], asked: dict[str, Any]
) -> None:
    plugin.environment = environment
    assert plugin.run("ADD", **config)[0] == 0
    (params,) = plugin.asked("partition.add")
    assert {key: params.get(key) for key in asked} == asked
    assert ("rate" in params) == ("rate" in asked)


def test_ports_are_published(plugin: Plugin) -> None:
    mappings = [
        {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"},
        {"HostPort": 53, "ContainerPort": 5353, "Protocol": "UDP", "HostIP": "192.0.2.1"},
        {"hostPort": 443, "containerPort": 443, "hostIP": "::1"},
        {"hostPort": 0, "containerPort": 9},
    ]
    plugin.run("ADD", runtimeConfig={"portMappings": mappings})
    (params,) = plugin.asked("publish.add")
    name = MADE["name"]
    expected = [f"8080:{name}:80/tcp", f"192.0.2.1:53:{name}:5353/udp", f"[::1]:443:{name}:443/tcp"]
    assert params["publish"] == expected


def test_what_cant_be_published_leaves_nothing(plugin: Plugin) -> None:
    log = plugin.ipam(LEASE)
    plugin.host.answers["publish.add"] = Exists("port 80 is published already")
    mappings = [{"hostPort": 80, "containerPort": 80}]
    plugin.fails("ADD", 106, ipam={"type": "pool"}, runtimeConfig={"portMappings": mappings})
    assert plugin.asked("partition.remove")[0]["name"] == MADE["name"]
    assert log.read_text() == "ADD c1 eth0\nDEL c1 eth0\n"


def test_addresses_by_delegation(plugin: Plugin) -> None:
    plugin.ipam(LEASE)
    result = plugin.run("ADD", ipam={"type": "pool"})[1]
    (params,) = plugin.asked("partition.add")
    assert params["addresses"] == ["10.77.0.5/24"]
    assert params["gateways"] == ["10.77.0.1"]
    assert params["routes"] == ["10.8.0.0/16 via 10.77.0.8", "10.7.0.0/16 via 10.77.0.1"]
    assert json.loads((plugin.root / "calls.in").read_text())["ipam"] == {"type": "pool"}
    assert result["ips"][0]["address"] == "10.77.0.1/24", "what the interface has counts"


def test_an_ipam_plugin_that_fails_gives_everything_back(plugin: Plugin) -> None:
    log = plugin.ipam('{"code": 11, "msg": "no address is left"}', exit_code=1)
    assert "no address is left" in plugin.fails("ADD", 11, ipam={"type": "pool"})
    assert log.read_text() == "ADD c1 eth0\nDEL c1 eth0\n"
    assert not plugin.asked("partition.add")


def test_add_twice_keeps_the_address_of_the_first(plugin: Plugin) -> None:
    log = plugin.ipam(LEASE)
    plugin.host.answers["partition.show"] = MADE
    plugin.fails("ADD", 106, ipam={"type": "pool"})
    assert not log.exists(), "an IPAM plugin releases by container and interface"
    assert not plugin.asked("partition.add")


def test_addresses_are_given_back_when_there_is_no_partition(plugin: Plugin) -> None:
    log = plugin.ipam(LEASE)
    plugin.host.answers["partition.add"] = Busy("an interface named eth0 is in it already")
    plugin.fails("ADD", 115, ipam={"type": "pool"})
    assert log.read_text() == "ADD c1 eth0\nDEL c1 eth0\n"


def test_del_waits_for_what_is_under_way(plugin: Plugin) -> None:
    answers = iter([Busy("it is being added"), {}])

    def remove(params: dict[str, Any]) -> Any:
        return next(answers)

    plugin.host.answers["partition.remove"] = remove
    assert plugin.run("DEL") == (0, None)
    assert len(plugin.asked("partition.remove")) == 2


def test_del_without_namespace_or_partition(plugin: Plugin) -> None:
    plugin.environment = {"CNI_NETNS": ""}
    plugin.host.answers["partition.remove"] = NotFound("it has another owner")
    log = plugin.ipam("")
    assert plugin.run("DEL", ipam={"type": "pool"}) == (0, None)
    assert log.read_text() == "DEL c1 eth0\n"


def test_check(plugin: Plugin) -> None:
    result = plugin.run("ADD")[1]
    actual = {
        "mac": "02:00:00:00:00:01",
        "up": True,
        "addresses": ["10.77.0.1/24", "fd00:77::1/64"],
        "gateways": ["10.77.0.254"],
    }
    plugin.host.answers["partition.show"] = {**MADE, "actual": actual}
    assert plugin.run("CHECK", prevResult=result) == (0, None)
    for lost in ({"addresses": []}, {"gateways": []}, {"up": False}, {"mac": "02:00:00:00:00:02"}):
        plugin.host.answers["partition.show"] = {**MADE, "actual": {**actual, **lost}}
        assert "eth0" in plugin.fails("CHECK", 100, prevResult=result)
    plugin.host.answers["partition.show"] = NotFound("there is no such partition")
    plugin.fails("CHECK", 3, prevResult=result)


def test_gc_removes_what_is_not_named(plugin: Plugin) -> None:
    owners = [
        {"cni/network": "net", "cni/container": each, "cni/interface": "eth0"} for each in ("c1", "c2", "c3")
    ]
    plugin.host.answers["partition.list"] = {"partitions": [{**MADE, "owner": owner} for owner in owners]}
    log = plugin.ipam("")
    valid = [{"containerID": "c2", "ifname": "eth0"}, {"containerID": "c3", "ifname": "eth1"}]
    config = {"cniVersion": "1.1.0", "ipam": {"type": "pool"}, "cni.dev/valid-attachments": valid}
    assert plugin.run("GC", **config) == (0, None)
    assert plugin.asked("partition.list") == [{"owner": {"cni/network": "net"}}]
    assert [each["owner"] for each in plugin.asked("partition.remove")] == [owners[0], owners[2]]
    assert log.read_text() == "DEL c1 eth0\nDEL c3 eth0\nGC c1 eth0\n"
    assert "cni.dev/valid-attachments" in plugin.fails("GC", 7, cniVersion="1.1.0")
