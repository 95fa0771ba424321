"""The plugin as netavark calls it."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

import pytest

from tests.component.cni.conftest import MADE, PLUGIN, Plugin
from vnicd.errors import Exists

NETWORK = {
    "name": "nv",
    "id": "1" * 64,
    "driver": "vnicd",
    "dns_enabled": True,
    "internal": False,
    "subnets": [{"subnet": "10.77.0.0/24", "gateway": "10.77.0.254"}],
}


def call(plugin: Plugin, *argv: str, **more: Any) -> tuple[int, Any]:
    options = {"network": "default", "runtimeDir": str(plugin.root)}
    network = {**NETWORK, "options": options}
    container = {
        "container_id": "c1",
        "container_name": "web",
        "port_mappings": [
            {"host_ip": "", "host_port": 8080, "container_port": 80, "range": 2, "protocol": "tcp,udp"}
        ],
        "network": network,
        "network_options": {
            "interface_name": "eth0",
            "static_ips": ["10.77.0.5"],
            "static_mac": "02:00:00:00:00:05",
            "aliases": ["www"],
        },
        **more,
    }
    done = subprocess.run(
        [PLUGIN, *argv],
        input=json.dumps(network if argv[0] == "create" else container),
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, json.loads(done.stdout) if done.stdout else None


def test_setup_and_teardown(plugin: Plugin) -> None:
    names = {"nameservers": ["127.0.0.77"], "search": ["vnicd.internal"]}
    plugin.host.answers["partition.add"] = {**MADE, "dns": names}
    status, told = call(plugin, "setup", "/run/netns/c1")
    assert status == 0
    assert told["dns_server_ips"] == ["127.0.0.77"]
    assert told["interfaces"]["eth0"]["mac_address"] == MADE["mac"]
    assert told["interfaces"]["eth0"]["subnets"][0] == {"ipnet": "10.77.0.1/24", "gateway": "10.77.0.254"}
    (params,) = plugin.asked("partition.add")
    assert params["addresses"] == ["10.77.0.5/24"]
    assert (params["gateways"], params["mac"]) == (["10.77.0.254"], "02:00:00:00:00:05")
    assert params["aliases"] == ["web", "www"]
    (published,) = plugin.asked("publish.add")
    assert published["held"] is True
    assert [each.split(":")[0] for each in published["publish"]] == ["8080", "8081", "8080", "8081"]
    assert call(plugin, "teardown", "/run/netns/gone") == (0, None)
    assert plugin.asked("partition.remove")[0]["owner"] == {
        "cni/network": "nv",
        "cni/container": "c1",
        "cni/interface": "eth0",
    }


def test_a_port_that_is_taken_leaves_nothing(plugin: Plugin) -> None:
    plugin.host.answers["publish.add"] = Exists("port 8080 is published already", "remove that first")
    words = "port 8080 is published already; remove that first"
    assert call(plugin, "setup", "/run/netns/c1") == (1, {"error": words})
    assert plugin.asked("partition.remove")


def test_a_network_that_is_there(plugin: Plugin) -> None:
    plugin.host.answers["fabric.ping"] = {"ready": True}
    status, told = call(plugin, "create")
    assert (status, told["name"]) == (0, "nv")


def test_without_a_hosting_daemon(plugin: Plugin) -> None:
    plugin.host.close()
    assert "no hosting daemon" in call(plugin, "setup", "/run/netns/c1")[1]["error"]
    assert "no hosting daemon" in call(plugin, "create")[1]["error"]
    assert call(plugin, "teardown", "/run/netns/c1") == (0, None)


@pytest.mark.parametrize("argv", [("paint",), ("setup",)])
def test_a_wrong_call(plugin: Plugin, argv: tuple[str, ...]) -> None:
    status, told = call(plugin, *argv)
    assert (status, list(told)) == (1, ["error"])


def test_info(plugin: Plugin) -> None:
    assert call(plugin, "info") == (0, {"version": "1", "api_version": "1.0.0"})
