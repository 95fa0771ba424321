"""Containers on a network by CNI: libcni itself, and podman with network_backend=cni."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.framework.containers import images
from tests.framework.containers.containerd import Containerd, Pod
from tests.framework.containers.machine import RuntimeMachine
from tests.framework.containers.needs import CNITOOL, CONTAINERD, PODMAN, need
from tests.framework.containers.podman import Podman
from tests.framework.waiting import wait_until
from tests.system.containers.conftest import MakeRuntimeMachine

ROOT = Path(__file__).parents[3]
PLUGINS = ROOT / "vnicd/libexec"
SOURCE = ROOT / "tests/framework/programs/cnitool/main.go"
TOOL = ROOT / "build/cnitool"
CAPABILITIES = {"portMappings": True, "bandwidth": True, "ips": True, "mac": True, "aliases": True}
AT_ONCE, IN_A_ROW = 12, 30

SAY_HELLO = ["sh", "-c", "printf 'HTTP/1.0 200 OK\\r\\n\\r\\nhello\\n' | busybox nc -l -p 80"]
DHCP_SERVER = """\
interface lan1
start 198.51.100.77
end 198.51.100.77
option subnet 255.255.255.0
option router 198.51.100.1
lease_file {folder}/leases
pidfile {folder}/udhcpd.pid
"""


@pytest.fixture(scope="module")
def machine(make_runtime_machine: MakeRuntimeMachine) -> RuntimeMachine:
    """One whose fabric is in nat mode by a pair of interfaces, with two networks of CNI in it."""
    if not (PLUGINS / "vnicd-cni").exists():
        pytest.skip("vnicd-cni was not built; scripts/setup builds it")
    made = make_runtime_machine()
    made.fabric.up()
    made.run(["ip", "link", "add", "nic0", "type", "veth", "peer", "name", "nic1"])
    made.run(["ip", "address", "add", "192.0.2.1/24", "dev", "nic0"])
    for name in ("nic0", "nic1"):
        made.run(["ip", "link", "set", name, "up"])
    made.fabric.cli("uplink", "set", "nic0", "--mode", "nat", "--subnet", "10.202.0.1/24")
    ours = {"type": "vnicd-cni", "runtimeDir": str(made.fabric.runtime), "capabilities": CAPABILITIES}
    ranges = [[{"subnet": "10.202.0.0/24", "rangeStart": "10.202.0.128", "rangeEnd": "10.202.0.250"}]]
    ipam = {"type": "host-local", "ranges": ranges, "routes": [{"dst": "0.0.0.0/0"}, {"dst": "10.9.0.0/16"}]}
    _write(made, "fabric", [ours])
    _write(made, "local", [{**ours, "ipam": ipam}, {"type": "tuning", "capabilities": {"mac": True}}])
    return made


def _write(machine: RuntimeMachine, name: str, plugins: list[dict[str, Any]]) -> None:
    about = {"cniVersion": "1.0.0", "name": name, "plugins": plugins}
    machine.write(f"/etc/cni/net.d/{name}.conflist", json.dumps(about))


class CniTool:
    """libcni, as runtimes call it."""

    def __init__(self, machine: RuntimeMachine) -> None:
        self.machine = machine

    def call(
        self, command: str, network: str, container: str, **capabilities: Any
    ) -> subprocess.CompletedProcess[str]:
        variables = {
            "NETCONFPATH": "/etc/cni/net.d",
            "CNI_PATH": f"{PLUGINS}:/usr/lib/cni",
            "CNI_CACHE": str(self.machine.folder / "cache"),
            "CONTAINER": container,
            "IFNAME": "eth0",
            "CAP_ARGS": json.dumps(capabilities),
        }
        argv = [str(TOOL), command, network, f"/run/netns/{container}"]
        return self.machine.run(argv, check=False, env={**self.machine.fabric.env, **variables})

    def done(self, command: str, network: str, container: str, **capabilities: Any) -> Any:
        finished = self.call(command, network, container, **capabilities)
        assert finished.returncode == 0, finished.stderr
        return json.loads(finished.stdout) if finished.stdout else None

    def namespace(self, name: str) -> str:
        self.machine.run(["ip", "netns", "add", name])
        self.machine.run(["ip", "-n", name, "link", "set", "lo", "up"])
        return name

    def host_pid(self) -> int:
        return int(self.machine.fabric.json("status")["fabric"]["pid"])

    def partitions(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.machine.fabric.json("partition", "list")["partitions"]
        return found


@pytest.fixture(scope="module")
def tool(machine: RuntimeMachine) -> Iterator[CniTool]:
    need(*CNITOOL)
    if not TOOL.exists() or TOOL.stat().st_mtime < SOURCE.stat().st_mtime:
        variables = {"GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOFLAGS": ""}
        environment = {**os.environ, **variables, "GOCACHE": str(ROOT / "build/go")}
        made = TOOL.with_name(f"cnitool.{os.getpid()}")
        subprocess.run(["go", "build", "-o", str(made), str(SOURCE)], check=True, env=environment)
        made.replace(TOOL)
    yield CniTool(machine)


def test_the_commands_of_libcni(tool: CniTool) -> None:
    for name in ("one", "two"):
        tool.namespace(name)
    mac, mapping = "02:00:00:00:0a:0b", {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}
    one = tool.done("add", "fabric", "one", portMappings=[mapping], ips=["10.202.0.77"])
    two = tool.done("add", "local", "two", mac=mac, bandwidth={"ingressRate": 10**6, "egressRate": 10**7})
    assert one["ips"][0]["address"] == "10.202.0.77/24"
    assert two["interfaces"][0]["mac"] == mac
    assert {"dst": "10.9.0.0/16", "gw": "10.202.0.1"} in two["routes"]
    address = two["ips"][0]["address"].split("/")[0]
    assert " 1 received" in tool.machine.run(["ip", "netns", "exec", "one", "ping", "-c1", address]).stdout
    by_name = {each["owner"]["cni/container"]: each for each in tool.partitions()}
    assert (by_name["two"]["rate"], by_name["two"]["rate_in"]) == (10**7, 10**6)
    (published,) = tool.machine.fabric.json("publish", "list")["published"]
    assert published["to"] == ["10.202.0.77:80"]
    tool.done("check", "fabric", "one")
    tool.done("check", "local", "two", mac=mac)
    again = tool.call("add", "fabric", "one")
    assert again.returncode == 1 and again.stderr.startswith("106: ")
    tool.machine.run(["ip", "-n", "two", "address", "flush", "dev", "eth0"])
    assert tool.call("check", "local", "two", mac=mac).returncode == 1
    for _ in range(2):
        tool.done("del", "fabric", "one")
        tool.done("del", "local", "two")
    assert not tool.partitions()
    assert not tool.machine.fabric.json("publish", "list")["published"]


def test_many_at_once_and_in_a_row_leave_nothing(tool: CniTool) -> None:
    names = [tool.namespace(f"many{number}") for number in range(AT_ONCE)]
    descriptors = Path(f"/proc/{tool.host_pid()}/fd")
    before = len(list(descriptors.iterdir()))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        results = list(pool.map(lambda name: tool.done("add", "local", name), names))
        addresses = {result["ips"][0]["address"] for result in results}
        assert len(addresses) == AT_ONCE
        list(pool.map(lambda name: tool.done("del", "local", name), names))
    for _ in range(IN_A_ROW):
        tool.done("add", "fabric", names[0])
        tool.done("del", "fabric", names[0])
    assert not tool.partitions()
    wait_until(lambda: len(list(descriptors.iterdir())) <= before + 2, 10, "the descriptors are closed")


def test_plugins_that_are_chained_behind(tool: CniTool) -> None:
    """Debian's tuning and portmap, which know nothing of vnicd, work on what it has made."""
    machine, mapping = tool.machine, {"hostPort": 8083, "containerPort": 80, "protocol": "tcp"}
    chain = [
        {"type": "vnicd-cni", "runtimeDir": str(machine.fabric.runtime), "capabilities": {"mac": True}},
        {"type": "tuning", "sysctl": {"net.ipv4.conf.all.log_martians": "1"}, "mtu": 1400},
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ]
    _write(machine, "tuned", chain)
    inside = ["ip", "netns", "exec", tool.namespace("tuned")]
    result = tool.done("add", "tuned", "tuned", portMappings=[mapping], mac="02:00:00:00:0a:0c")
    assert result["interfaces"][0]["mac"] == "02:00:00:00:0a:0c"
    settings = machine.run([*inside, "sysctl", "-n", "net.ipv4.conf.all.log_martians"]).stdout
    assert settings == "1\n"
    assert "mtu 1400" in machine.run([*inside, "ip", "link", "show", "eth0"]).stdout
    machine.popen([*inside, *SAY_HELLO], stdout=subprocess.DEVNULL)
    listening = [*inside, "ss", "-Htln", "sport", "=", ":80"]
    wait_until(lambda: machine.run(listening).stdout, 10, "somebody listens")
    assert machine.run(["curl", "-sS", "--max-time", "10", "http://192.0.2.1:8083/"]).stdout == "hello\n"
    # Debian's portmap would ask for chains of IPv6 that it makes only for containers that have it.
    tool.done("check", "tuned", "tuned", mac="02:00:00:00:0a:0c")
    tool.done("del", "tuned", "tuned", portMappings=[mapping])
    assert "8083" not in machine.run(["iptables-save"]).stdout
    assert not tool.partitions()


def test_a_lan_with_dhcp(tool: CniTool) -> None:
    """A network in bridge mode: the LAN's own server gives the container its address."""
    machine, fabric = tool.machine, tool.machine.fabric
    router = ["ip", "netns", "exec", tool.namespace("router")]
    machine.run(["ip", "link", "add", "lan0", "type", "veth", "peer", "name", "lan1", "netns", "router"])
    machine.run(["ip", "link", "set", "lan0", "up"])
    machine.run([*router, "ip", "address", "add", "198.51.100.1/24", "dev", "lan1"])
    machine.run([*router, "ip", "link", "set", "lan1", "up"])
    folder = machine.folder / "dhcp"
    machine.write(folder / "udhcpd.conf", DHCP_SERVER.format(folder=folder))
    machine.write(folder / "leases", "")
    machine.popen([*router, "busybox", "udhcpd", "-f", f"{folder}/udhcpd.conf"], stderr=subprocess.DEVNULL)
    machine.popen(["/usr/lib/cni/dhcp", "daemon", "-socketpath", f"{folder}/sock"], stderr=subprocess.DEVNULL)
    wait_until(machine.path(folder / "sock").exists, 10, "the daemon listens")
    fabric.cli("network", "add", "lan", "--uplink", "bridge", "--nic", "lan0")
    ipam = {"type": "dhcp", "daemonSocketPath": f"{folder}/sock"}
    _write(
        machine,
        "lan",
        [{"type": "vnicd-cni", "runtimeDir": str(fabric.runtime), "network": "lan", "ipam": ipam}],
    )
    inside = ["ip", "netns", "exec", tool.namespace("guest")]
    result = tool.done("add", "lan", "guest")
    assert result["ips"][0]["address"] == "198.51.100.77/24"
    assert " 1 received" in machine.run([*inside, "ping", "-c", "1", "198.51.100.1"]).stdout
    assert "default via 198.51.100.1" in machine.run([*inside, "ip", "route"]).stdout
    assert " 1 received" in machine.run([*router, "ping", "-c", "1", "198.51.100.77"]).stdout
    tool.done("del", "lan", "guest")
    fabric.cli("network", "remove", "lan")


def test_a_hosting_daemon_that_dies_between(tool: CniTool) -> None:
    """DEL succeeds while it is away, and the partition goes with its namespace when it is back."""
    tool.namespace("left")
    tool.done("add", "local", "left")
    os.kill(tool.host_pid(), signal.SIGKILL)
    assert tool.call("add", "fabric", "left").stderr.startswith("11: ")
    tool.done("del", "local", "left")
    tool.machine.run(["ip", "netns", "del", "left"])
    tool.machine.fabric.up()
    wait_until(lambda: not tool.partitions(), 20, "the partition is gone")


@pytest.fixture(scope="module")
def cni_podman(machine: RuntimeMachine) -> Podman:
    need(*PODMAN)
    return Podman(machine, PLUGINS)


def test_podman(cni_podman: Podman) -> None:
    options = [
        "--network=fabric",
        "--name=web",
        "--ip=10.202.0.99",
        "--mac-address=02:00:00:00:0c:01",
        "-p",
        "8081:80",
    ]
    web = cni_podman.start(images.busybox(), options=options)
    assert web.address("fabric") == "10.202.0.99"
    output = cni_podman.run(images.busybox(), "ping", "-c", "1", "web", options=["--network=fabric"])
    assert "1 packets received" in output
    cni_podman.cli("restart", "--time=0", web.id)
    assert web.address("fabric") == "10.202.0.99"
    ports = cni_podman.machine.fabric.json("publish", "list")["published"]
    assert [each["port"] for each in ports] == [8081]
    web.remove()
    assert not cni_podman.machine.fabric.json("partition", "list")["partitions"]
    assert not cni_podman.machine.fabric.json("publish", "list")["published"]


@pytest.fixture(scope="module")
def containerd(machine: RuntimeMachine) -> Containerd:
    """One in the machine, with the plugins that it needs in its folder."""
    need(*CONTAINERD)
    for name in ("vnicd-cni", "loopback"):
        source = PLUGINS / name if name == "vnicd-cni" else Path("/usr/lib/cni", name)
        machine.run(["install", "-D", str(source), f"/opt/cni/bin/{name}"])
    return Containerd(machine).start()


def test_containerd(containerd: Containerd) -> None:
    """The network is the first in /etc/cni/net.d."""
    containerd.ctr("images", "import", str(images.busybox().archive))
    (image,) = [each for each in containerd.ctr("images", "list", "--quiet").split() if "busybox" in each]
    group = f"--cgroup={containerd.machine.cgroup}/ctr"
    output = containerd.ctr("run", "--rm", "--cni", group, image, "c1", "ping", "-c", "1", "10.202.0.1")
    assert "1 packets received" in output
    assert not containerd.machine.fabric.json("partition", "list")["partitions"]


def test_pods(containerd: Containerd) -> None:
    """As a kubelet asks for them: a port of the node, limits, names, and their end."""
    need("curl")
    machine, limits = containerd.machine, {"kubernetes.io/egress-bandwidth": "10M"}
    web = Pod.start(containerd, "web", images.busybox(), ports=((8090, 80),), annotations=limits)
    db = Pod.start(containerd, "db", images.busybox())
    assert "1 packets received" in db.exec("ping", "-c", "1", web.address)
    assert " 1 received" in machine.run(["ping", "-c", "1", web.address]).stdout
    web.exec("sh", "-c", "mkdir /www; echo hello >/www/index.html; httpd -h /www")
    assert machine.run(["curl", "-sS", "--max-time", "10", "http://192.0.2.1:8090/"]).stdout == "hello\n"
    found = {
        each["owner"]["cni/name"]: each for each in machine.fabric.json("partition", "list")["partitions"]
    }
    assert (found["web"]["rate"], found["db"]["rate"]) == (10**7, None)
    for pod in (web, db):
        pod.remove()
    assert not machine.fabric.json("partition", "list")["partitions"]
    assert not machine.fabric.json("publish", "list")["published"]


class Runtime:
    """Calls the plugin itself, for what Debian's libcni does not know, and to be killed."""

    def __init__(self, machine: RuntimeMachine) -> None:
        self.machine = machine

    def begin(self, command: str, container: str, **config: Any) -> subprocess.Popen[bytes]:
        words = {"cniVersion": "1.1.0", "name": "direct", "type": "vnicd-cni"}
        variables = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": container,
            "CNI_NETNS": f"/run/netns/{container}",
            "CNI_IFNAME": "eth0",
            "CNI_PATH": "/usr/lib/cni",
        }
        process = self.machine.popen(
            [str(PLUGINS / "vnicd-cni")],
            env={**self.machine.fabric.env, **variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert process.stdin is not None
        process.stdin.write(json.dumps({**words, **config}).encode())
        process.stdin.close()
        return process

    def done(self, command: str, container: str, **config: Any) -> None:
        process = self.begin(command, container, **config)
        assert process.stdout is not None
        output = process.stdout.read()
        assert process.wait(60) == 0, output

    def containers(self) -> set[str]:
        found = self.machine.fabric.json("partition", "list")["partitions"]
        return {each["owner"]["cni/container"] for each in found}


def test_gc_leaves_what_lives(machine: RuntimeMachine) -> None:
    """Runtimes that die in ADD, and forget what they had."""
    runtime = Runtime(machine)
    for name in ("lives", "forgotten", "killed", "early"):
        machine.run(["ip", "netns", "add", name])
    runtime.done("ADD", "lives")
    runtime.done("ADD", "forgotten")
    early = runtime.begin("ADD", "early")
    early.kill()
    killed = runtime.begin("ADD", "killed")
    wait_until(lambda: "killed" in runtime.containers(), 20, "the addition has begun")
    killed.kill()
    runtime.done("DEL", "killed")
    assert "killed" not in runtime.containers()
    (pid,) = (
        each["pid"]
        for each in machine.fabric.json("partition", "list")["partitions"]
        if each["owner"]["cni/container"] == "forgotten"
    )
    os.kill(pid, signal.SIGKILL)
    valid = [{"containerID": "lives", "ifname": "eth0"}]

    def is_clean() -> bool:
        """What "early" may have asked for before its death can come at any time."""
        runtime.done("GC", "", **{"cni.dev/valid-attachments": valid})
        return runtime.containers() == {"lives"}

    wait_until(is_clean, 20, "what lives is left")
    runtime.done("STATUS", "")
    runtime.done("DEL", "lives")
