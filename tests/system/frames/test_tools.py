"""The tools that people use on an interface work in a partition."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from functools import partial

from tests.framework.fabric.partition import Partition
from tests.framework.traffic.datagrams import udp
from tests.framework.waiting import wait_for_output, wait_until
from tests.system.conftest import Pair


def test_tcpdump(pair: Pair) -> None:
    blue, green = pair
    argv = ["tcpdump", "-n", "-l", "-i", green.ifname, "-c", "4", "icmp"]
    capture = green.popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert capture.stderr
    wait_for_output(capture.stderr, b"listening on", 10)
    assert blue.ping(green.ip, count=2).lost == 0
    seen = capture.communicate(timeout=10)[0].decode()
    assert seen.count(f"{blue.ip} > {green.ip}: ICMP echo request") == 2
    assert seen.count(f"{green.ip} > {blue.ip}: ICMP echo reply") == 2


def features(partition: Partition) -> dict[str, str]:
    text = partition.run(["ethtool", "-k", partition.ifname]).stdout
    return dict(re.findall(r"^\s*([\w-]+): (on|off)", text, re.MULTILINE))


def test_offloads_are_on(pair: Pair) -> None:
    for partition in pair:
        on = features(partition)
        wanted = ("tx-checksumming", "scatter-gather", "tcp-segmentation-offload", "tx-tcp6-segmentation")
        assert {name: on[name] for name in wanted} == dict.fromkeys(wanted, "on")
        if "tx-udp-segmentation" in on:
            assert on["tx-udp-segmentation"] == "on"


def test_offloads_can_be_switched_off(pair: Pair) -> None:
    """Correct traffic also without them, at one end or at both."""
    blue, green = pair
    names = ["tx", "tso", "gso", "gro"]
    for switched in ([blue], [green], [blue, green]):
        for partition in switched:
            partition.run(
                ["ethtool", "-K", partition.ifname, *(word for name in names for word in (name, "off"))]
            )
        assert blue.ping(green.ip, "-s", "5000", count=5).lost == 0
        receiver, sender = udp(green, green.ip), udp(blue, blue.ip)
        sender.sendto(b"checked", receiver.getsockname())
        assert receiver.recv(100) == b"checked"
        for partition in switched:
            partition.run(
                ["ethtool", "-K", partition.ifname, *(word for name in names for word in (name, "on"))]
            )


def test_ethtool_shows_the_driver(pair: Pair) -> None:
    assert "driver: tun" in pair[0].run(["ethtool", "-i", pair[0].ifname]).stdout
    assert "Link detected: yes" in pair[0].run(["ethtool", pair[0].ifname]).stdout


def test_interface_counters(pair: Pair) -> None:
    """`ip -s link` counts what the partition sent and received; it agrees with vnicd's own."""
    blue, green = pair

    def packets(partition: Partition) -> tuple[int, int]:
        (link,) = json.loads(partition.run(["ip", "-j", "-s", "link", "show", partition.ifname]).stdout)
        return link["stats64"]["tx"]["packets"], link["stats64"]["rx"]["packets"]

    def counters(partition: Partition) -> tuple[int, int]:
        (port,) = blue.fabric.call("stats", name=partition.name)["ports"]
        return port["counters"]["tap_rx_frames"], port["counters"]["tap_tx_frames"]

    def same(partition: Partition) -> bool:
        return packets(partition) == counters(partition)

    assert blue.ping(green.ip, count=20).lost == 0
    for one in pair:
        wait_until(partial(same, one), 5, "both count the same")
        assert min(packets(one)) >= 20


def test_interface_down_and_up(pair: Pair) -> None:
    """Frames for a downed interface are dropped and counted; up again, traffic is back at once."""
    blue, green = pair
    before = green.drops["tap_down"]
    assert blue.ping(green.ip, count=2).lost == 0
    green.run(["ip", "link", "set", green.ifname, "down"])
    assert blue.ping(green.ip, "-W", "0.3", count=3).received == 0
    wait_until(lambda: green.drops["tap_down"] > before, 5, "drops are counted as tap_down")
    green.run(["ip", "link", "set", green.ifname, "up"])
    assert blue.ping(green.ip, count=20).lost == 0
    assert green.info["state"] == "up"
    assert green.info["restarts"] == 0


def test_arping_and_neighbours(pair: Pair) -> None:
    blue, green = pair
    blue.run(["ip", "neigh", "flush", "all"])
    assert blue.ping(green.ip, count=1).lost == 0
    assert green.mac in blue.run(["ip", "neigh", "show", green.ip]).stdout


def test_interrupted_ping_reports(pair: Pair) -> None:
    """Ctrl-C on a ping that `exec` started ends the ping, which prints its statistics."""
    blue, green = pair
    process = blue.fabric.popen_cli("exec", blue.name, "--", "ping", green.ip, stdout=subprocess.PIPE)
    assert process.stdout
    wait_for_output(process.stdout, b"bytes from", 10)
    process.send_signal(signal.SIGINT)
    assert b" 0% packet loss" in process.communicate()[0]
    assert process.returncode == 0
