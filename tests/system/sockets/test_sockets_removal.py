"""A partition that goes takes its TCP connections with it, be they direct or the kernel's."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.framework.fabric.fabric import Fabric
from tests.framework.fabric.partition import Partition
from tests.framework.programs import PROGRAMS
from tests.framework.sockets.direct import LIBRARY, End, shown
from tests.framework.waiting import wait_until

pytestmark = pytest.mark.skipif(not LIBRARY.exists(), reason=f"no {LIBRARY}: run scripts/setup")


class Talk:
    """A server in one partition and a client in another, with a connection; each waits in a receive or is idle."""

    def __init__(self, stack: ExitStack, fabric: Fabric, direct: bool, idle: str) -> None:
        self.fabric = fabric
        fabric.up()
        self.places: dict[str, Partition] = {
            kind: fabric.add(kind, f"10.90.0.{number}/24", f"fd90::{number}/64")
            for number, kind in enumerate(("server", "client"), 1)
        }
        ip = self.places["server"].ip

        def start(kind: str, port: int) -> subprocess.Popen[bytes]:
            argv = [
                sys.executable,
                str(PROGRAMS / "connected/waits.py"),
                ip,
                str(port),
                *(["idle"] if kind == idle else []),
            ]
            end = End(self.places[kind], direct)
            return stack.enter_context(end.running(argv))

        server = start("server", 0)
        self.programs = {"server": server, "client": start("client", int(self.line(server)))}
        assert [self.line(program) for program in self.programs.values()] == ["True", "True"]
        kinds = [each["state"] for each in shown(fabric)]
        assert kinds == (["up"] if direct else [])

    @staticmethod
    def line(program: subprocess.Popen[bytes]) -> str:
        assert program.stdout
        return program.stdout.readline().decode().strip()

    def go_on(self, kind: str) -> None:
        stdin = self.programs[kind].stdin
        assert stdin
        stdin.write(b"\n")
        stdin.flush()


MakeTalk = Callable[[bool, str], Talk]


@pytest.fixture
def talk(fabric: Fabric) -> Iterator[MakeTalk]:
    with ExitStack() as stack:
        yield lambda direct, idle: Talk(stack, fabric, direct, idle)


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("removed", ["server", "client"])
@pytest.mark.parametrize("idle", ["server", "client", "nobody"])
def test_a_removed_partition_ends_its_connections(
    talk: MakeTalk, direct: bool, removed: str, idle: str
) -> None:
    """Its own programs are told that the connection was aborted, the others of a reset."""
    made = talk(direct, idle)
    made.fabric.cli("partition", "remove", made.fabric.name(removed))
    other = "client" if removed == "server" else "server"
    if idle == removed:  # the other end knows it without it
        assert made.line(made.programs[other]) == errno.errorcode[errno.ECONNRESET]
    if idle != "nobody":
        made.go_on(idle)
    if idle != removed:
        assert made.line(made.programs[other]) == errno.errorcode[errno.ECONNRESET]
    ends = {errno.ECONNABORTED, errno.ECONNRESET} if direct and idle == removed else {errno.ECONNABORTED}
    assert made.line(made.programs[removed]) in {errno.errorcode[end] for end in ends}
    wait_until(lambda: not shown(made.fabric), 5, "no connection is shown any more")


@pytest.mark.parametrize("direct", [True, False])
def test_down_ends_all_connections(talk: MakeTalk, direct: bool) -> None:
    made = talk(direct, "nobody")
    made.fabric.down()
    ends = {errno.errorcode[errno.ECONNABORTED], errno.errorcode[errno.ECONNRESET]}
    assert {made.line(program) for program in made.programs.values()} <= ends


def test_connections_of_others_stay(talk: MakeTalk) -> None:
    """In the same namespace, as in a container that has another network beside."""
    made = talk(True, "nobody")
    made.fabric.add("third", "10.90.0.3/24", netns=made.places["client"].netns, ifname="third0")
    made.fabric.cli("partition", "remove", made.fabric.name("third"))
    assert [each["state"] for each in shown(made.fabric)] == ["up"]
