"""What a runtime is told when something is missing, wrong, slow or gone."""

from __future__ import annotations

import pytest

from tests.component.cni.conftest import Plugin
from vnicd.errors import Invalid

VERSIONS = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]


def test_versions(plugin: Plugin) -> None:
    known = {"cniVersion": "0.4.0", "supportedVersions": VERSIONS}
    assert plugin.run("VERSION", stdin='{"cniVersion": "0.4.0"}') == (0, known)
    assert plugin.run("VERSION", stdin="")[1]["supportedVersions"] == VERSIONS


@pytest.mark.parametrize("version", ["0.2.0", "2.0.0", ""])
def test_a_version_that_is_not_known(plugin: Plugin, version: str) -> None:
    assert version in plugin.fails("ADD", 1, cniVersion=version)


@pytest.mark.parametrize(("version", "command"), [("1.0.0", "GC"), ("0.4.0", "STATUS"), ("0.3.1", "CHECK")])
def test_a_command_that_the_version_does_not_have(plugin: Plugin, version: str, command: str) -> None:
    plugin.fails(command, 1, cniVersion=version)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CNI_COMMAND", ""),
        ("CNI_COMMAND", "PAINT"),
        ("CNI_CONTAINERID", ""),
        ("CNI_CONTAINERID", "../c1"),
        ("CNI_NETNS", ""),
        ("CNI_NETNS", "c1"),
        ("CNI_IFNAME", ""),
        ("CNI_IFNAME", "a/b"),
        ("CNI_IFNAME", "sixteen-letters-"),
        ("CNI_ARGS", "MAC"),
        ("CNI_CONTAINERID", "\udcff"),
        ("CNI_NETNS", "/run/netns/\udcff"),
        ("CNI_IFNAME", "\udcff"),
        ("CNI_ARGS", "MAC=\udcff"),
    ],
)
def test_the_environment(plugin: Plugin, name: str, value: str) -> None:
    plugin.environment = {name: value}
    assert name in plugin.fails("ADD", 4)
    assert not plugin.host.requests


@pytest.mark.parametrize(
    "config",
    [
        {"name": ""},
        {"name": "a/b"},
        {"network": 5},
        {"network": "../default"},
        {"runtimeDir": "here"},
        {"runtimeDir": f"/{'long' * 30}"},
        {"ipam": 5},
        {"ipam": {"type": "../pool"}},
        {"ipam": {"type": "absent"}},
        {"runtimeConfig": []},
        {"runtimeConfig": {"ips": [5]}},
        {"runtimeConfig": {"bandwidth": {"ingressRate": "fast"}}},
        {"runtimeConfig": {"bandwidth": 5}},
        {"runtimeConfig": {"ips": "10.77.0.5"}},
        {"runtimeConfig": {"mac": 5}},
        {"runtimeConfig": {"portMappings": {"hostPort": 80}}},
        {"mtu": "1500"},
        {"mtu": 1e99},
        {"mac": 5},
        {"prevResult": 5},
    ],
)
def test_a_wrong_configuration(plugin: Plugin, config: dict[str, object]) -> None:
    plugin.fails("ADD", 7, **config)
    assert not plugin.asked("partition.add")


@pytest.mark.parametrize(
    "mapping",
    [{"hostPort": 70000, "containerPort": 1}, {"hostPort": 1}, {"hostPort": "80", "containerPort": 80}, 80],
)
def test_ports_that_are_none(plugin: Plugin, mapping: dict[str, object]) -> None:
    plugin.fails("ADD", 7, runtimeConfig={"portMappings": [mapping]})
    assert plugin.asked("partition.remove")


@pytest.mark.parametrize("stdin", ["", "{", "[]", '{"name": "a", "name": "b"}', "\0"])
def test_input_that_is_no_configuration(plugin: Plugin, stdin: str) -> None:
    assert plugin.run("ADD", stdin=stdin)[1]["code"] == 6


def test_a_request_that_is_too_long(plugin: Plugin) -> None:
    ips = [f"10.77.0.{number % 255}/24" for number in range(100_000)]
    assert "too long" in plugin.fails("ADD", 7, runtimeConfig={"ips": ips})


def test_without_a_hosting_daemon(plugin: Plugin) -> None:
    plugin.host.close()
    log = plugin.ipam('{"ips": [{"address": "10.77.0.5/24"}]}')
    assert "no hosting daemon" in plugin.fails("ADD", 11, ipam={"type": "pool"})
    assert plugin.run("DEL", ipam={"type": "pool"}) == (0, None)
    assert log.read_text().split() == ["ADD", "c1", "eth0", "DEL", "c1", "eth0", "DEL", "c1", "eth0"]
    plugin.fails("STATUS", 50, cniVersion="1.1.0")
    plugin.fails("CHECK", 11, prevResult={})


def test_its_own_words_and_its_hint(plugin: Plugin) -> None:
    plugin.host.answers["partition.add"] = Invalid("the MTU is too large", "choose a smaller one")
    status, printed = plugin.run("ADD")
    words = {"msg": "the MTU is too large", "details": "choose a smaller one"}
    assert (status, printed) == (1, {"cniVersion": "1.0.0", "code": 7, **words})


@pytest.mark.parametrize("answer", [b"", b"\n", b"{}\n", b'{"error": 5}\n', b"\xff\n"])
def test_a_daemon_that_answers_nonsense(plugin: Plugin, answer: bytes) -> None:
    plugin.host.answers["partition.add"] = answer
    assert plugin.run("ADD")[1]["code"] in (5, 11)


def test_another_network(plugin: Plugin) -> None:
    assert f"{plugin.root}/networks/fast/control.sock" in plugin.fails("ADD", 11, network="fast")


def test_status(plugin: Plugin) -> None:
    plugin.host.answers["fabric.ping"] = {"ready": False}
    plugin.fails("STATUS", 50, cniVersion="1.1.0")
    plugin.host.answers["fabric.ping"] = {"ready": True}
    assert plugin.run("STATUS", cniVersion="1.1.0") == (0, None)
    plugin.host.answers["partition.list"] = {"partitions": [{}] * 255}
    assert "255" in plugin.fails("STATUS", 50, cniVersion="1.1.0")


def test_an_ipam_plugin_of_an_older_version(plugin: Plugin) -> None:
    """Debian 12 has one that knows nothing above 1.0.0."""
    plugin.ipam("")
    script = plugin.root / "pool"
    old = '{"code": 1, "msg": "incompatible CNI versions"}'
    given = '{"ips": [{"address": "10.77.0.5/24"}]}'
    script.write_text(
        f"#!/bin/sh\ngrep -q '\"1.1.0\"' && {{ echo '{old}'; exit 1; }}\necho '{given}'\nexit 0\n"
    )
    config = {"cniVersion": "1.1.0", "ipam": {"type": "pool"}}
    assert plugin.run("ADD", **config)[0] == 0
    assert plugin.asked("partition.add")[0]["addresses"] == ["10.77.0.5/24"]
    assert plugin.run("STATUS", **config) == (0, None)
