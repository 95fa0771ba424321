"""Direct sockets: a program of another user that has taken the broker's name is told nothing."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO

import pytest

from tests.framework.programs import PROGRAMS
from tests.framework.sockets.direct import LIBRARY, preloading
from tests.framework.waiting import wait_for_output
from vnicd.sockets import abi
from vnicd.sockets.abi import EXCHANGE, RESOLVER, Reason, Reply

MANY = """
import socket
listener = socket.create_server(("127.0.0.1", 0))
for _ in range(100):
    with socket.create_connection(listener.getsockname()), listener.accept()[0]:
        pass
"""


@contextmanager
def squatting(name: str, uid: int) -> Iterator[IO[bytes]]:
    argv = [sys.executable, str(PROGRAMS / "connected/squatter.py"), name, str(uid)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, bufsize=0) as process:
        assert process.stdout is not None
        try:
            wait_for_output(process.stdout, b"ready\n", 10)
            yield process.stdout
        finally:
            process.kill()


@pytest.mark.parametrize(
    "place", ["", RESOLVER, EXCHANGE], ids=["the broker's name", "the resolver's name", "the exchange's name"]
)
def test_a_squatter_is_told_nothing(place: str) -> None:
    if not LIBRARY.exists():
        pytest.skip("the preload library is not built")
    name = f"squat-{os.getpid()}"
    with squatting(name + place, 12345) as squatter:
        settings = {"VNICD_BROKER": name, "VNICD_LOOPBACK": "1"}
        argv = preloading([sys.executable, str(PROGRAMS / "connected/plain.py")], True, **settings)
        subprocess.run(argv, check=True, timeout=30)
        with socket.socket(
            socket.AF_UNIX, socket.SOCK_SEQPACKET
        ) as honest:  # whoever asks it by hand is heard
            honest.connect(f"\0{name}{place}")
            honest.send(b"four")
            heard = wait_for_output(squatter, b"4\n", 10)
    assert set(heard.split()) <= {b"0", b"4"}, "it was sent a request"


def test_a_broker_of_another_version_is_left_alone() -> None:
    """After an upgrade a program has the old library; its connections must not pay for that."""
    name = f"other-{os.getpid()}"
    asked = 0
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as broker:
        broker.bind(f"\0{name}")
        broker.listen(100)
        broker.settimeout(0.5)
        settings = {"VNICD_BROKER": name, "VNICD_LOOPBACK": "1"}
        argv = preloading([sys.executable, "-c", MANY], True, **settings)
        with subprocess.Popen(argv) as process:
            while process.poll() is None:
                # Who could not tell of its listener leaves word, and goes without waiting for an answer.
                with suppress(TimeoutError, BrokenPipeError), broker.accept()[0] as client:
                    asked += 1
                    client.recv(4096)
                    client.send(Reply(Reason.UNSUPPORTED, version=abi.VERSION + 1).pack())
        assert process.returncode == 0
    assert 1 <= asked < 10
