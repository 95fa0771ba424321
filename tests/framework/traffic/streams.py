"""TCP streams whose content is checked by a hash, and servers that programs connect to."""

from __future__ import annotations

import hashlib
import json
import random
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

from tests.framework.fabric.partition import Partition
from tests.framework.waiting import wait_until

MEGABYTE = 1 << 20
HEADERS = 14 + 20 + 32
"""Ethernet, IPv4, and TCP with timestamps."""
MSS = 1448


def family_of(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def listen(partition: Partition, address: str, port: int = 0) -> socket.socket:
    server = partition.socket(family_of(address), socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind((address, port))
    server.listen()
    server.settimeout(10)
    return server


def connect(client: Partition, server: Partition, address: str) -> tuple[socket.socket, socket.socket]:
    """Both ends of a new TCP connection from `client` to `address` of `server`."""
    with listen(server, address) as listener:
        near = client.socket(family_of(address), socket.SOCK_STREAM)
        near.settimeout(10)
        near.connect(listener.getsockname()[:2])
        far = server.fabric.on_close(listener.accept()[0])
    for end in (near, far):
        end.settimeout(20)
    return near, far


@cache
def random_block(seed: int) -> bytes:
    """16 MiB, the same for each seed."""
    return random.Random(seed).randbytes(16 * MEGABYTE)


def send_random(sock: socket.socket, total: int, seed: int) -> str:
    """Sends `total` bytes in writes of random sizes, shuts the direction, returns the hash of the bytes."""
    chance = random.Random(seed)
    block = random_block(seed)
    digest = hashlib.sha256()
    sent = 0
    while sent < total:
        start = chance.randrange(len(block))
        piece = memoryview(block)[start : start + min(chance.randrange(1, MEGABYTE), total - sent)]
        sock.sendall(piece)
        digest.update(piece)
        sent += len(piece)
    sock.shutdown(socket.SHUT_WR)
    return digest.hexdigest()


def receive_all(sock: socket.socket) -> str:
    """The hash of all bytes until the other side shuts its direction."""
    digest = hashlib.sha256()
    buffer = bytearray(MEGABYTE)
    while count := sock.recv_into(buffer):
        digest.update(memoryview(buffer)[:count])
    return digest.hexdigest()


def exchange(one: socket.socket, other: socket.socket, total: int, back: int = 0) -> None:
    """Sends `total` bytes one way and `back` the other way at once; what arrives must be what was sent."""
    with ThreadPoolExecutor(4) as pool:
        there = pool.submit(send_random, one, total, 1), pool.submit(receive_all, other)
        here = pool.submit(send_random, other, back, 2), pool.submit(receive_all, one)
        assert there[0].result() == there[1].result()
        assert here[0].result() == here[1].result()


def receive_exactly(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        chunk = sock.recv(count - len(data))
        assert chunk, f"the stream ended after {len(data)} of {count} bytes"
        data += chunk
    return data


def is_listening(pid: int, port: int) -> bool:
    """Whether somebody in the network namespace of process `pid` listens on a TCP port."""
    tables = "".join(Path(f"/proc/{pid}/net/{name}").read_text() for name in ("tcp", "tcp6"))
    entries = [line.split() for line in tables.splitlines()]
    return any(fields[3] == "0A" and fields[1].endswith(f":{port:04X}") for fields in entries)


def serve(partition: Partition, argv: list[str], port: int) -> subprocess.Popen[bytes]:
    """A server program in the partition that listens on `port` already."""
    process = partition.popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def ready() -> bool:
        assert process.poll() is None, f"{argv} ended with {process.returncode}"
        return is_listening(process.pid, port)

    wait_until(ready, 10, f"{argv[0]} listens on port {port}")
    return process


def iperf(
    client: Partition, server: Partition, *options: str, port: int = 5201, seconds: int = 1
) -> dict[str, Any]:
    """The `end` part of what iperf3 reports for a run from `client` to `server`."""
    process = serve(server, ["iperf3", "-s", "-1", "-p", str(port)], port)
    argv = ["iperf3", "-J", "-c", server.ip, "-p", str(port), "-t", str(seconds), *options]
    report = json.loads(client.run(argv, timeout=seconds + 30).stdout)
    assert "error" not in report, report["error"]
    process.wait(10)
    return dict(report["end"])


def on_the_wire(end: dict[str, Any]) -> float:
    """The received bits per second of a TCP run over IPv4, MTU 1500, with their headers, which a limit counts too."""
    return float(end["sum_received"]["bits_per_second"]) * (MSS + HEADERS) / MSS
