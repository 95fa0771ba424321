"""A hosting daemon that only pretends: it speaks the control protocol and answers what a test told it to."""

from __future__ import annotations

import contextlib
import copy
import os
import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vnicd.errors import VnicdError
from vnicd.protocol import control
from vnicd.spec.uplink import parse_publish

Answer = Any | VnicdError | Callable[[dict[str, Any]], Any]


def partition(name: str, port: int, **more: Any) -> dict[str, Any]:
    return {
        "port": port,
        "name": name,
        "state": "up",
        "pid": 4000 + port,
        "mac": f"02:00:00:00:00:{port:02x}",
        "addresses": [f"10.77.0.{port}/24", f"fd00:77::{port}/64"],
        "mtu": 1500,
        "ifname": "vnic0",
        "netns": f"/run/netns/{name}",
        "netns_owned": True,
        "page_size": 2097152,
        "generation": 1,
        "restarts": 0,
        **more,
    }


def way(source: str, target: str, frames: int = 0, **drops: int) -> dict[str, Any]:
    counters = {"frames": frames, "bytes": frames * 1500, "wakeups": frames // 10, "drops": drops}
    return {"from": source, "to": target, **counters}


def cursors(source: str, target: str, **facts: Any) -> dict[str, Any]:
    """One direction of a link's memory."""
    at_rest = {"head": 0, "tail": 0, "unread": 0, "wake_at": 0, "is_armed": False, "want_room": None}
    return {"from": source, "to": target, **at_rest, "waits_for_room": False, "cpu": None, **facts}


def link(one: str, other: str, ways: list[dict[str, Any]], path: str, state: str) -> dict[str, Any]:
    page_size = None if state == "none" else 2097152
    return {"ports": [one, other], "path": path, "state": state, "page_size": page_size, "directions": ways}


def published(text: str, *to: str, state: str = "up") -> dict[str, Any]:
    each = parse_publish(text)
    return {
        "publish": text,
        "address": each.address or None,
        "port": each.port,
        "protocol": each.protocol,
        "partition": each.name,
        "target_port": each.target,
        "to": list(to),
        "state": state,
    }


def uplink(**more: Any) -> dict[str, Any]:
    offloads = {
        "tx-checksum": True,
        "tso4": True,
        "tso6": True,
        "uso": False,
        "rx-checksum": True,
        "gro": True,
    }
    return {
        "nic": "eth1",
        "mode": "bridge",
        "backend": "packet",
        "state": "up",
        "reason": "",
        "mac": "02:00:00:00:00:e1",
        "mtu": 1500,
        "speed_mbit": 10000,
        "carrier": True,
        "offloads": offloads,
        "ifname": "vnicd0",
        "subnets": [],
        "addresses": [],
        "publish": [],
        "propagate_link": False,
        "default_route": False,
        "repairs": 0,
        "last_repair": "",
        "without_address": {},
        "in_the_way": [],
        "counters": {"rx_frames": 20, "rx_bytes": 30000, "tx_frames": 1234587, "tx_bytes": 1851880500},
        "drops": {"no_destination": 3, "bad_source": 0},
        **more,
    }


BLUE, GREEN = partition("blue", 1), partition("green", 2, state="starting", pid=None, addresses=[])
RED = partition("red", 3, state="failed", pid=None, netns="/proc/77/ns/net", netns_owned=False)

ANSWERS: dict[str, Answer] = {
    "fabric.ping": {"ready": True, "pid": os.getpid(), "version": "0.1.0", "starting": []},
    "fabric.down": {},
    "status": {
        "fabric": {
            "runtime_dir": "/run/vnicd",
            "pid": 3999,
            "version": "0.1.0",
            "uptime_s": 11525.2,
            "hugepages": "auto",
            "page_size": 4096,
            "degraded": "no hugepages are left",
            "names": {"mode": True, "server": "127.0.0.77", "forwarding": False, "pid": 4100},
        },
        "ports": [{"port": 0, "name": "host", "state": "up", "pid": 3999}, BLUE, GREEN, RED],
    },
    "partition.list": {"partitions": [BLUE, GREEN, RED]},
    "partition.show": BLUE,
    "partition.add": BLUE,
    "partition.set": {**BLUE, "before": BLUE},
    "partition.remove": {},
    "partition.restart": BLUE,
    "fabric.check": {"checks": []},
    "uplink.show": {"uplink": uplink()},
    "uplink.set": {"uplink": uplink()},
    "uplink.clear": {},
    "links": {
        "links": [
            link("host", "blue", [way("host", "blue"), way("blue", "host")], "direct", "up"),
            link(
                "blue",
                "green",
                [way("blue", "green", 1234567, ring_full=3), way("green", "blue")],
                "direct",
                "up",
            ),
            link("blue", "red", [way("blue", "red", 7), way("red", "blue")], "relay", "none"),
            link("green", "red", [way("green", "red"), way("red", "green")], "none", "none"),
        ]
    },
    "debug.link": {
        "ports": ["blue", "green"],
        "link_id": "00000000000000ff",
        "state": "up",
        "directions": [
            cursors("blue", "green", head=4096, tail=64, unread=4032, waits_for_room=True),
            cursors("green", "blue", is_armed=True, cpu=1),
        ],
        "daemons": [
            {"name": "blue", "pid": 4001, "rounds": 12, "sleeps": 3, "holds": 1, "link_faults": 0},
            {"name": "green", "pid": 4002, "rounds": 9, "sleeps": 4, "holds": 0, "link_faults": 2},
        ],
    },
    "publish.add": {"published": [published("8080:blue:80", "10.78.0.2:80", "[fd78::2]:80")]},
    "publish.remove": {"published": [published("8080:blue:80")]},
    "publish.list": {
        "published": [
            published("8080:blue:80", "10.78.0.2:80", "[fd78::2]:80"),
            published("[2001:db8::2]:53:gone:5353/udp", state="no-partition"),
        ]
    },
    "stats": {
        "ports": [
            {
                "name": "blue",
                "counters": {
                    "tap_rx_frames": 1234587,
                    "tap_rx_bytes": 1851880500,
                    "tap_tx_frames": 20,
                    "tap_tx_bytes": 30000,
                    "sleeps": 12,
                },
                "drops": {"ring_full": 3, "bad_source": 0, "reserved_multicast": 1},
            }
        ]
    },
}


class FakeHost:
    """Answers at `path` until it is closed; `requests` are those that came, `answers` may be changed.

    What has to be so from the first request on is given as `answers`: those of the same names are others then.
    """

    def __init__(self, path: Path, answers: Mapping[str, Answer] | None = None) -> None:
        self.answers: dict[str, Answer] = copy.deepcopy(ANSWERS) | dict(answers or {})
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.path = path
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends as a hosting daemon does: its socket goes with it."""
        self.path.unlink(missing_ok=True)
        # Wakes accept, which close alone does not.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        if threading.current_thread() is not self._thread:
            self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with sock, sock.makefile("rb") as lines, contextlib.suppress(OSError):
                for line in lines:
                    sock.sendall(self._reply(line))

    def _reply(self, line: bytes) -> bytes:
        ident, method, params = control.parse_request(line)
        self.requests.append((method, params))
        answer = self.answers[method]
        if callable(answer):
            answer = answer(params)
        if isinstance(answer, bytes):
            return answer
        return (
            control.failure(ident, answer)
            if isinstance(answer, VnicdError)
            else control.result(ident, answer)
        )
