"""Names beside an uplink: those of partitions in each mode, and those that the machine's resolvers know."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.framework.fabric.fabric import VNICCTL
from tests.framework.fabric.leaks import ETC
from tests.framework.fabric.namespaces import socket_in
from tests.framework.fabric.partition import Partition
from tests.framework.traffic import dns
from tests.framework.traffic.dns import A
from tests.framework.uplink.uplink import Machine, Uplinked
from tests.framework.waiting import wait_until

SERVER = ("127.0.0.77", 53)
SOON = 20.0


class Resolver:
    """Of a machine, at an address of its loopback: knows `www`, what is `big`, and does not answer `silent`."""

    def __init__(self, machine: Machine, address: str, stack: ExitStack) -> None:
        self.address = address
        self.questions: list[bytes] = []
        self.sources: set[int] = set()
        self.stop = threading.Event()
        self.udp, self.tcp = (
            stack.enter_context(socket_in(machine.here.netns, socket.AF_INET, kind))
            for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM)
        )
        self.tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for sock in (self.udp, self.tcp):
            sock.bind((address, 53))
            sock.settimeout(0.2)
        self.tcp.listen()
        threads = [threading.Thread(target=work) for work in (self.serve_udp, self.serve_tcp)]
        for thread in threads:
            thread.start()
            stack.callback(thread.join)
        stack.callback(self.stop.set)

    def serve_udp(self) -> None:
        while not self.stop.is_set():
            try:
                data, source = self.udp.recvfrom(4096)
            except TimeoutError:
                continue
            self.questions.append(data)
            self.sources.add(source[1])
            if b"silent" not in data:
                self.udp.sendto(b"\0\0" + self.answer(data)[2:], source)  # another id: is to be overlooked
                self.udp.sendto(self.answer(data, short=b"big" in data), source)

    def serve_tcp(self) -> None:
        while not self.stop.is_set():
            try:
                sock, _ = self.tcp.accept()
            except TimeoutError:
                continue
            with sock, sock.makefile("rb") as file:
                data = file.read(struct.unpack("!H", file.read(2))[0])
                answer = self.answer(data)
                sock.sendall(struct.pack("!H", len(answer)) + answer)

    def answer(self, data: bytes, short: bool = False) -> bytes:
        end = data.index(b"\0", 12) + 5
        known = any(name in data for name in (b"www", b"big"))
        count = 0 if short or not known else 60 if b"big" in data else 1
        flags = 0x8180 | (0x0200 if short else 0) | (0 if known else dns.NXDOMAIN)
        record = struct.pack("!HHHIH", 0xC00C, A, 1, 60, 4) + socket.inet_aton(f"192.0.2.{self.address[-1]}")
        return data[:2] + struct.pack("!HHHHH", flags, 1, count, 0, 0) + data[12:end] + record * count


def ask(partition: Partition, name: str, kind: int = socket.SOCK_DGRAM, size: int | None = None) -> dns.Reply:
    with socket_in(partition.netns, socket.AF_INET, kind) as sock:
        sock.settimeout(10)
        sock.connect(SERVER)
        how = dns.ask_udp if kind == socket.SOCK_DGRAM else dns.ask_tcp
        return how(sock, dns.question(name, size=size))


def found(partition: Partition, name: str) -> list[str]:
    argv = ["ip", "netns", "exec", partition.name, "getent", "ahostsv4", name]
    output = subprocess.run(argv, capture_output=True, text=True, timeout=60).stdout
    return [line.split()[0] for line in output.splitlines()][:1]


def test_partitions_in_each_mode(uplinked: Uplinked) -> None:
    web, db = uplinked.web, uplinked.db
    wait_until(lambda: found(web, db.name) == [db.ip], SOON, "web finds db")
    assert found(db, web.name) == [web.ip]
    names = uplinked.machine.fabric.json("status")["fabric"]["names"]
    assert names["forwarding"]


@pytest.fixture
def etc(machine: Machine) -> Iterator[Path]:
    """The /etc/resolv.conf of what is started by `ip netns exec` in the machine's namespace."""
    path = ETC / machine.here.name / "resolv.conf"
    path.parent.mkdir(parents=True)
    path.write_text("nameserver 127.0.0.1\n")
    yield path
    path.unlink()
    path.parent.rmdir()
    if not any(ETC.iterdir()):
        ETC.rmdir()


def up(machine: Machine, *options: str) -> None:
    """Starts the hosting daemon where it sees the machine's own resolv.conf; names of namespaces are seen by all."""
    environment = {**machine.fabric.env, "VNICD_MOUNT_NAMESPACE": f"/proc/{os.getpid()}/ns/mnt"}
    argv = ["ip", "netns", "exec", machine.here.name, str(VNICCTL), "up", *options]
    subprocess.run(argv, env=environment, check=True)


def test_the_machines_resolvers_are_asked(machine: Machine, etc: Path) -> None:
    up(machine)
    web = machine.fabric.add("web", "10.77.0.5/24")
    assert ask(web, "www.example.com").code == dns.REFUSED
    machine.set("--mode", "nat", "--subnet", "10.77.0.1/24")
    wait_until(lambda: ask(web, "nobody.example.com").code != dns.REFUSED, SOON, "it is forwarded")
    with ExitStack() as stack:
        first = Resolver(machine, "127.0.0.1", stack)
        assert ask(web, "www.example.com").found == ("192.0.2.1",)
        assert found(web, "www.example.com") == ["192.0.2.1"]
        assert ask(web, "nobody.example.com").code == dns.NXDOMAIN
        assert ask(web, "nobody").code == dns.NXDOMAIN
        assert not any(b"\6nobody\0" in data for data in first.questions), "no single label leaves"
        assert ask(web, "big.example.com").truncated
        assert len(ask(web, "big.example.com", socket.SOCK_STREAM).found) == 60
        assert ask(web, "www.example.com", size=4000).found == ("192.0.2.1",)
        assert first.questions[-1].endswith(struct.pack("!BHHIH", 0, dns.OPT, 4000, 0, 0))
        many = [ask(web, f"www{number}.example.com") for number in range(12)]
        assert all(reply.found == ("192.0.2.1",) for reply in many)
        assert len({data[:2] for data in first.questions}) > 10
        assert len(first.sources) > 10
        Resolver(machine, "127.0.0.2", stack)
        etc.write_text("nameserver 127.0.0.2\n")
        wait_until(lambda: ask(web, "www.example.com").found == ("192.0.2.2",), SOON, "the file is followed")
        etc.write_text("nameserver 127.0.0.9\nnameserver 127.0.0.1\n")
        wait_until(lambda: ask(web, "www.example.com").found == ("192.0.2.1",), SOON, "the next one is asked")
        etc.write_text("nameserver 127.0.0.1\n")
        silent = [socket_in(web.netns, socket.AF_INET, socket.SOCK_DGRAM) for _ in range(100)]
        for sock in silent:
            stack.enter_context(sock)
            sock.connect(SERVER)
            sock.settimeout(30)
            sock.send(dns.question("silent.example.com"))
        web2 = machine.fabric.add("web2", "10.77.0.6/24")
        assert ask(web2, web.name).found == (web.ip,)
        assert ask(web2, "www.example.com").found == ("192.0.2.1",)
        codes = {dns.parse(sock.recv(4096)).code for sock in silent}
        assert codes == {dns.SERVFAIL}
    machine.clear()
    wait_until(lambda: ask(web, "www.example.com").code == dns.REFUSED, SOON, "it is not forwarded any more")


def test_local_names_only(machine: Machine, etc: Path) -> None:
    up(machine, "--names", "local")
    machine.set("--mode", "nat", "--subnet", "10.77.0.1/24")
    web = machine.fabric.add("web")
    assert ask(web, web.name).found == (web.ip,)
    assert ask(web, "www.example.com").code == dns.REFUSED
