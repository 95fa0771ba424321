"""May a connection be direct? The preload library, the resolver and the exchange decide alike, by rules of their own.

The library decides for the program, mostly by names that the broker has bound, and asks the resolver where these do not
tell; the exchange decides once more when it is offered, as programs are strangers.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

import pytest

from tests.framework.fabric.namespaces import in_namespace, socket_in
from tests.framework.fabric.partition import Partition
from tests.framework.sockets.direct import End, Ends
from tests.framework.sockets.directness import BLUE, BLUE6, CASES, GREEN, GREEN6, GREEN_TOO, INSIDE, Case
from tests.framework.sockets.preload import Program, address_of
from tests.framework.waiting import wait_until
from tests.system.conftest import MakeFabric
from vnicd.sockets import abi
from vnicd.sockets.abi import BROKER_NAME, Op, Reason

PORT = 7401

LISTEN = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
listener = socket.create_server((sys.argv[1], int(sys.argv[2])), family=family, dualstack_ipv6=sys.argv[1] == "::")
print("ready", flush=True)
sys.stdin.read()
"""

CONNECT = """
import socket, sys
sock = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET)
sock.setblocking(False)
sock.connect_ex((sys.argv[1], int(sys.argv[2])))
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def two(make_module_fabric: MakeFabric) -> Ends:
    fabric = make_module_fabric().up()
    blue = fabric.add("blue", f"{BLUE}/16", f"{BLUE6}/64")
    green = fabric.add("green", f"{GREEN}/16", f"{GREEN6}/64", f"{GREEN_TOO}/16")
    return Ends(End(blue, True), End(green, True))


@contextmanager
def running(end: End, program: str, address: str, port: int, loopback: bool = True) -> Iterator[int]:
    """The process id of a program that has done what it does."""
    argv = ["env", f"VNICD_LOOPBACK={int(loopback)}", sys.executable, "-c", program, address, str(port)]
    with end.running(argv) as process:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        yield process.pid


@contextmanager
def listening(ends: Ends, case: Case, port: int) -> Iterator[None]:
    if not case.listens:
        yield
        return
    partition = (ends.client if case.inside == "blue" else ends.server).partition
    with running(End(partition, case.has_library), LISTEN, case.listens, port):
        yield


def by_library(ends: Ends, target: str, port: int, loopback: bool = True) -> Reason:
    """What a program finds that connects."""

    def decided() -> list[str]:
        rows = ends.fabric.call("sockets.list")["processes"]
        return [word for row in rows if row["pid"] == pid for word in row["decided"]]

    with running(ends.client, CONNECT, target, port, loopback) as pid:
        (found,) = wait_until(decided, 10, "the program has told what it has decided")
    return Reason[found.upper()]


def by_resolver(blue: Partition, target: str, port: int) -> Reason:
    with closing(in_namespace(blue.netns, lambda: Program(BROKER_NAME + abi.RESOLVER))) as program:
        reply, fds = program.ask(Op.ASK, target=abi.address(target, port))
        for fd in fds:
            os.close(fd)
        return Reason(reply.reason)


def by_exchange(blue: Partition, target: str, port: int) -> Reason:
    """What is said to an offer that comes from the program's own address."""
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    own = target if target in INSIDE else BLUE6 if family == socket.AF_INET6 else BLUE
    with ExitStack() as stack:
        sock = stack.enter_context(socket_in(blue.netns, family, socket.SOCK_STREAM))
        sock.bind((own, 0))
        program = stack.enter_context(
            closing(in_namespace(blue.netns, lambda: Program(BROKER_NAME + abi.EXCHANGE)))
        )
        reply, bell = program.offer(address_of(sock), abi.address(target, port), sock)
        bell.close()
        return Reason(reply.reason)


@pytest.mark.parametrize(("number", "case"), list(enumerate(CASES)), ids=[case.name for case in CASES])
def test_all_who_decide_it_agree(two: Ends, number: int, case: Case) -> None:
    port = PORT + number  # a port's name outlives its listener for a while
    blue = two.client.partition
    with listening(two, case, port):
        found = {
            "library": by_library(two, case.target, port),
            "resolver": by_resolver(blue, case.target, port),
            "exchange": by_exchange(blue, case.target, port),
        }
    assert found == dict.fromkeys(found, case.reason)


@pytest.mark.parametrize("target", INSIDE)
def test_the_library_alone_leaves_out_what_stays_in_a_partition(two: Ends, target: str) -> None:
    """Unless it is told to; the others answer to what they are asked."""
    port = PORT + len(CASES) + INSIDE.index(target)
    with running(two.client, LISTEN, target, port):
        assert by_library(two, target, port, loopback=False) is Reason.NOT_A_PARTITION
        assert by_resolver(two.client.partition, target, port) is Reason.DIRECT
