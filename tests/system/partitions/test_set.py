"""vnicctl partition set: a partition changes while a stream goes through it."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from threading import Event

from tests.framework.fabric.apply import there, untouched
from tests.framework.fabric.fabric import Fabric
from tests.framework.traffic.streams import connect
from tests.framework.waiting import wait_until

CHUNK = bytes(range(256)) * 64


def echo(sock: socket.socket, ended: Event) -> int:
    """Sends what comes back until the event is set, and then to the end; how many bytes came back."""
    passed = 0
    while not ended.is_set():
        sock.sendall(CHUNK)
        left = len(CHUNK)
        while left:
            part = sock.recv(left)
            assert part == CHUNK[len(CHUNK) - left :][: len(part)] and part
            left -= len(part)
            passed += len(part)
    sock.shutdown(socket.SHUT_WR)
    return passed


def reflect(sock: socket.socket) -> None:
    while part := sock.recv(1 << 16):
        sock.sendall(part)


def test_a_stream_goes_on_over_what_stays(shared: Fabric) -> None:
    """All that can be changed is, one thing at a time; what is not named stays, and what is refused changes nothing."""
    web = shared.add("web", "10.79.0.1/24", "fd79::1/64")
    db = shared.add("db", "10.79.0.2/24", "10.79.0.8/24", "fd79::2/64", gateway="10.79.0.1")
    before = untouched(shared, "web", "db")
    near, far = connect(web, db, db.ip)
    for sock in (near, far):
        sock.settimeout(30)
    ended = Event()
    with ThreadPoolExecutor(2) as pool, near, far:
        running = [pool.submit(echo, near, ended), pool.submit(reflect, far)]
        try:
            change_all(shared)
        finally:
            ended.set()
        assert running[0].result(30) > 0
        running[1].result(30)
    assert untouched(shared, "web", "db") == before
    addresses_come_and_go(shared)
    for partition in (web, db):
        shared.cli("partition", "remove", partition.name)


def set_(fabric: Fabric, *words: str) -> str:
    """What is told, without the partition's name."""
    return fabric.cli("partition", "set", fabric.name("db"), *words).stdout.partition(": ")[2].strip()


def change_all(fabric: Fabric) -> None:
    db = fabric.partition("db")
    kept = db.info
    assert set_(fabric, "--rate", "100mbit", "--rate-in", "20mbit") == (
        "rate unlimited -> 100mbit, rate_in as rate -> 20mbit"
    )
    assert set_(fabric, "--mtu", "1400") == "mtu 1500 -> 1400"
    assert "mtu 1400" in db.run(["ip", "link", "show", "vnic0"]).stdout
    assert set_(fabric, "--address", "10.79.0.2/24", "--address", "10.79.0.9/24") == (
        "addresses -10.79.0.8/24 -fd79::2/64 +10.79.0.9/24"
    )
    assert there(db.netns) == {"10.79.0.2/24", "10.79.0.9/24"}
    assert set_(fabric, "--gateway", "10.79.0.3") == "gateways -10.79.0.1 +10.79.0.3"
    assert "via 10.79.0.3" in db.run(["ip", "route"]).stdout
    for words, code, says in (
        (("--address", "10.79.0.1/24"), 8, "belongs to partition"),
        (("--address", "10.80.0.2/24"), 7, "--no-gateway"),
        (("--mtu", "70000"), 7, "576 to 65000"),
        (("--mac", "02:00:00:00:00:01"), 7, "can't be changed"),
    ):
        done = fabric.cli("partition", "set", db.name, *words, check=False)
        assert done.returncode == code and says in done.stderr and done.stderr.count("\n") == 1
    now = db.info
    changed = {key for key in now if now[key] != kept[key]} - {"actual"}
    assert changed == {"addresses", "gateways", "mtu", "rate", "rate_in"}
    assert now["drift"] == []
    assert set_(fabric, "--mtu", "auto", "--rate-in", "0") == "mtu 1400 -> 1500, rate_in 20mbit -> as rate"
    assert set_(fabric, "--rate", "0", "--no-gateway") == ("gateways -10.79.0.3, rate 100mbit -> unlimited")
    assert set_(fabric, "--rate", "0") == "nothing to change"
    assert "default" not in db.run(["ip", "route"]).stdout


def addresses_come_and_go(fabric: Fabric) -> None:
    """All of them; and two requests at a time each change what they name, and nothing else."""
    web, db = fabric.partition("web"), fabric.partition("db")
    assert set_(fabric, "--no-address") == "addresses -10.79.0.2/24 -10.79.0.9/24"
    assert there(db.netns) == set()
    with ThreadPoolExecutor(4) as pool:
        wanted = [
            ("--rate", "1gbit"),
            ("--mtu", "1300"),
            ("--address", "10.79.0.7/24"),
            ("--rate-in", "2gbit"),
        ]
        list(pool.map(lambda words: set_(fabric, *words), wanted))
    now = db.info
    assert (now["rate"], now["rate_in"], now["mtu"], now["addresses"]) == (
        10**9,
        2 * 10**9,
        1300,
        ["10.79.0.7/24"],
    )
    assert wait_until(lambda: web.ping("10.79.0.7", count=1).received == 1, 10, "the new address answers")
