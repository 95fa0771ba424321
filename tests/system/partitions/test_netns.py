"""`--netns`: a namespace that exists already gets an interface, and keeps all else when that goes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable

import pytest

from tests.framework.fabric.fabric import VNICCTL, Fabric
from tests.framework.fabric.namespaces import named
from tests.framework.waiting import wait_until


def by_name(fabric: Fabric, label: str) -> str:
    return fabric.namespace(label)


def by_path(fabric: Fabric, label: str) -> str:
    return f"/run/netns/{fabric.namespace(label)}"


def by_process(fabric: Fabric, label: str) -> str:
    """The namespace of a process, as a container's is found: it has no name."""
    assert label
    process = fabric.popen(
        ["unshare", "--net", "sh", "-c", "echo ready; exec sleep 600"], stdout=subprocess.PIPE
    )
    assert process.stdout
    assert process.stdout.read(5) == b"ready"
    return f"/proc/{process.pid}/ns/net"


KINDS = [by_name, by_path, by_process]


def inside(path: str) -> list[dict[str, object]]:
    """The interfaces of a namespace, without what counts or changes by itself."""
    shown = subprocess.run(["nsenter", f"--net={path}", "ip", "-j", "addr"], capture_output=True, check=True)
    return [{key: link[key] for key in ("ifname", "mtu", "addr_info")} for link in json.loads(shown.stdout)]


def own_names(fabric: Fabric) -> set[str]:
    """The named namespaces of a fabric; others' come and go."""
    return {name for name in named() if name.endswith(f"-{fabric.tag}")}


@pytest.mark.parametrize("given", KINDS)
def test_attach_and_remove(shared: Fabric, given: Callable[[Fabric, str], str]) -> None:
    netns = given(shared, given.__name__)
    path = netns if "/" in netns else f"/run/netns/{netns}"
    subprocess.run(["nsenter", f"--net={path}", "ip", "tuntap", "add", "own0", "mode", "tap"], check=True)
    before, names = inside(path), own_names(shared)

    peer = shared.add("peer", "10.91.0.1/24")
    box = shared.add("attached", "10.91.0.2/24", netns=netns)
    assert (box.info["netns"], box.info["netns_owned"]) == (path, False)
    assert box.name not in named()
    assert peer.ping(box.ip, count=10).lost == 0
    done = shared.cli("exec", box.name, "--", "ping", "-c", "1", "-W", "1", peer.ip)
    assert " 0% packet loss" in done.stdout

    for partition in (box, peer):
        shared.cli("partition", "remove", partition.name)
    assert inside(path) == before
    assert own_names(shared) == names


def test_down_leaves_an_attached_namespace(fabric: Fabric) -> None:
    name = fabric.namespace("kept")
    path = f"/run/netns/{name}"
    before = inside(path)
    fabric.up().add("attached", "10.91.1.1/24", netns=name)
    fabric.down()
    assert name in named()
    assert inside(path) == before


def test_two_partitions_in_one_namespace(shared: Fabric) -> None:
    """Two interfaces with names of their own."""
    name = shared.namespace("two")
    peer = shared.add("peer2", "10.91.2.1/24", "10.91.3.1/24")
    first = shared.add("first", "10.91.2.2/24", netns=name, ifname="vnic0")
    second = shared.add("second", "10.91.3.2/24", netns=name, ifname="vnic1")
    assert peer.ping(first.ip).lost == 0
    assert peer.ping(second.ip).lost == 0
    shared.cli("partition", "remove", first.name)
    # Linux answers ARP for any address on any interface, so the peer may know second by first's MAC.
    peer.run(["ip", "neigh", "flush", "all"])
    assert peer.ping(second.ip).lost == 0


def test_an_interface_with_a_name_that_is_no_text(shared: Fabric) -> None:
    """Its partition's root may call it what he likes: the daemon comes back without it, and it can be taken away."""
    path = by_name(shared, "renamed")
    before = inside(f"/run/netns/{path}")
    box = shared.add("renamed", "10.91.6.1/24", netns=path)
    for words in (["down"], ["name", b"\xff\xfe"], ["up"]):
        old = box.ifname if words != ["up"] else b"\xff\xfe"
        subprocess.run(["ip", "-n", path, "link", "set", old, *words], check=True)
    os.kill(box.pid, signal.SIGKILL)
    wait_until(lambda: (box.info["restarts"], box.info["state"]) == (1, "up"), 20, "its daemon is back")
    shared.cli("partition", "remove", box.name)
    assert inside(f"/run/netns/{path}") == before


def test_a_renamed_interface_goes_with_its_partition(shared: Fabric) -> None:
    path = by_path(shared, "other-name")
    before = inside(path)
    box = shared.add("box", netns=path)
    subprocess.run(["nsenter", f"--net={path}", "ip", "link", "set", box.ifname, "down"], check=True)
    subprocess.run(
        ["nsenter", f"--net={path}", "ip", "link", "set", box.ifname, "name", "other0"], check=True
    )
    shared.cli("partition", "remove", box.name)
    assert inside(path) == before


@pytest.mark.parametrize("moment", ["namespace is named in the state", "interface is there"])
def test_nothing_stays_when_the_host_is_killed_during_an_add(fabric: Fabric, moment: str) -> None:
    """In a namespace that is not ours, where nobody else would take the interface away."""
    fabric.up()
    path = by_path(fabric, "killed")
    before = inside(path)
    adding = fabric.popen_cli("partition", "add", fabric.name("box"), "--netns", path)

    def reached() -> bool:
        if moment == "interface is there":
            return len(inside(path)) > len(before)
        state = fabric.runtime / "state.json"
        return state.exists() and path in state.read_text()

    host = fabric.host_pid()
    wait_until(reached, 5, moment)
    os.kill(host, signal.SIGKILL)
    adding.wait()
    fabric.up()
    assert inside(path) == before or fabric.call("partition.list")["partitions"]
    fabric.down()
    assert inside(path) == before


WHERE_NETNS_EXEC_STARTS_IT = """
set -e
mount --make-shared /run/netns
ip netns exec "$1" "$2" up
"$2" partition add "$3" --address 10.91.7.1/24
"$2" exec "$3" -- ip -br addr
ip netns exec "$3" ip -br addr
"$2" doctor | grep 'mounts of its own' || true
"$2" down
"""


def test_names_are_seen_by_all_if_netns_exec_starts_the_host(fabric: Fabric) -> None:
    """As `ip netns exec` has mounts of its own. Process 1 is one of ours: another's mounts we might not be let in."""
    machine, box = fabric.namespace("machine"), fabric.name("box")
    room = ["unshare", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc"]
    argv = [*room, "sh", "-c", WHERE_NETNS_EXEC_STARTS_IT, "sh", machine, str(VNICCTL), box]
    done = subprocess.run(argv, env=fabric.env, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("10.91.7.1/24") == 2
    assert "mounts of its own" not in done.stdout
    assert box not in named()


def test_doctor_tells_of_names_that_nobody_sees(fabric: Fabric) -> None:
    subprocess.run(["unshare", "--mount", str(VNICCTL), "up"], env=fabric.env, check=True, timeout=60)
    assert any("mounts of its own" in check["detail"] for check in fabric.doctor())
