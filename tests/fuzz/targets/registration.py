"""What a partition daemon sends to the hosting daemon: the real registrar, links and loop, between two honest daemons.

The hosting daemon does not take care of partitions here (nobody is restarted), and no frame moves. Whatever the hostile
one says, the link of the honest ones stays, nothing is kept of it but what is bounded, and status can be shown.
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tests.framework.descriptors import open_fds
from tests.fuzz.choices import Choices
from tests.fuzz.target import Target, Try
from tests.fuzz.targets.daemons import Honest, Hostile
from tests.fuzz.targets.descriptors import all_kinds, fd_names
from tests.fuzz.targets.silence import silenced
from tests.fuzz.targets.turns import turn
from vnicd.config import Options, Paths
from vnicd.host import status
from vnicd.host.fabric import Fabric
from vnicd.host.links.manager import State
from vnicd.host.ports import allowance, channel
from vnicd.host.ports.port import Port, Stage
from vnicd.kernel import process, tap
from vnicd.native import memory
from vnicd.process import trace_files
from vnicd.spec.partition import make_partition

HONEST, HOSTILE = ("one", "two"), ("three", "four")
NAMES = (*HONEST, *HOSTILE, *HOSTILE, *HOSTILE, "nobody")
THREADS_MOST = 16
STATUS_MOST = 50_000


class _Fabric:
    def __init__(self, folder: Path, kinds: list[int], problems: list[str]) -> None:
        self.problems = problems
        self.kinds = kinds
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(lambda loop, context: problems.append(str(context)))
        self.loop.run_until_complete(self._begin(Paths(folder)))
        self.path = str(Paths(folder).registration)
        self.daemons: list[Honest] = []
        for name in HONEST:
            self.join(Honest(name, self.path))
        for name in HONEST:  # from now on they are other processes than ours
            self.fabric.ports.by_name[name].watched(os.getppid(), 0, -1)
        self.links = self.fabric.relay.links
        self.links.request(1, 2)
        self.settle()
        self.link = self.links.links[1, 2]
        assert self.link.state is State.UP
        self.settle()
        self.loop.run_until_complete(self.fabric.broker_service.follow())
        self.before, self.count = fd_names(), open_fds(collect=False)

    async def _begin(self, paths: Paths) -> None:
        self.fabric = Fabric(paths, Options(hugepages="never"), lambda: None)
        for number, name in enumerate((*HONEST, *HOSTILE), 1):
            netns = f"/proc/{os.getpid()}/ns/net"
            spec = make_partition(
                name, [f"10.0.0.{number}/24"], f"02:00:00:00:00:0{number}", None, f"fuzz{number}", netns
            )
            port = self.fabric.ports.insert(Port(spec, number, Stage.MEMBER))
            port.watched(os.getpid(), process.start_time(os.getpid()) or 0, -1)
            port.take_tap(tap.open_tap(spec.ifname, persist=False))
        self.fabric.registrar.listen()

    def join(self, daemon: Honest) -> None:
        """Have an honest daemon registered, before the next one of this process."""
        self.daemons.append(daemon)
        while daemon.endpoint is None:
            self.settle()

    def settle(self) -> None:
        """Until nobody has anything more to say at once."""
        for _ in range(6):
            turn(self.loop, 2)
            for daemon in self.daemons:
                daemon.serve()

    def attempt(self, data: bytes) -> int:
        choices = Choices(data)
        told = 0
        ends = [Hostile(self.path, self.kinds, NAMES)]
        while choices.more:
            if choices.one_in(24):
                ends.append(Hostile(self.path, self.kinds, NAMES))
            hostile = ends[-1 - choices.below(len(ends)) if choices.one_in(8) else -1]
            hostile.say(choices)
            told += 1
            turn(self.loop, 1 + choices.below(3))
            for daemon in self.daemons:
                daemon.serve()
            hostile.listen()
            if choices.one_in(16):
                self.check_shown()
        self.check_tables()
        for each in ends:
            each.close()
        self.forget()
        self.check()
        return told

    def forget(self) -> None:
        """The hostile daemons end: what was theirs goes."""
        self.settle()  # what was said before
        for name in HOSTILE:
            self.loop.call_soon(self.links.port_down, self.fabric.ports.by_name[name].number)
        self.settle()
        while len(self.fabric.registrar.channels) > len(self.daemons) or self.fabric.reconciler.tasks:
            turn(self.loop)
        for _ in range(1000):
            if open_fds(collect=False) <= self.count:
                break
            self.loop.run_until_complete(asyncio.wait([self.loop.create_future()], timeout=0.002))

    def check_tables(self) -> None:
        links = self.links
        assert {each.ident: each for each in links.links.values()} == links.by_id, (
            "two tables of links differ"
        )
        assert links.unfinished.items() <= links.by_id.items()
        pairs = len(self.fabric.ports.by_number) * (len(self.fabric.ports.by_number) + 1) // 2
        assert len(links.links) <= pairs and len(links.pauses) <= pairs
        assert len(self.fabric.registrar.complaints.about) <= 10
        assert threading.active_count() <= THREADS_MOST, f"{threading.active_count()} threads"
        assert len(self.fabric.reconciler.tasks) <= 4, f"{len(self.fabric.reconciler.tasks)} tasks"
        self.check_shown()

    def check_shown(self) -> None:
        """What vnicctl is told is of a size, and says what is so."""
        shown, links = status.status(self.fabric), status.links(self.fabric)
        size = len(json.dumps([shown, links, status.stats(self.fabric, None)]))
        assert size <= STATUS_MOST, f"status has {size} bytes"
        sizes = {each["page_size"] for each in (*shown["ports"], *links["links"])}
        assert sizes <= {None, memory.SMALL_PAGE}, f"pages have {sizes} bytes"

    def check(self) -> None:
        assert not self.problems, self.problems
        assert self.links.links.get((1, 2)) is self.link and self.link.state is State.UP, (
            "honest ones lost their link"
        )
        assert all(daemon.has_open(peer) for daemon, peer in zip(self.daemons, (2, 1), strict=True))
        assert open_fds(collect=False) <= self.count, f"leaked: {Counter(fd_names()) - Counter(self.before)}"

    def close(self) -> None:
        for daemon in self.daemons:
            daemon.close()
        self.loop.run_until_complete(self._end())
        self.loop.close()

    async def _end(self) -> None:
        self.fabric.registrar.close()
        await self.fabric.broker_service.stop()
        trace_files.remove_all(self.fabric.registrar.traces)


@contextmanager
def _opened() -> Iterator[Try]:
    kept = allowance.SHARE, channel.LAST_WORD
    allowance.SHARE, channel.LAST_WORD = 1e6, 0.001  # what they spare is time, and there is none to lose here
    with (
        tempfile.TemporaryDirectory() as folder,
        silenced() as silence,
        all_kinds() as kinds,
        closing(_Fabric(Path(folder), kinds, silence.tracebacks)) as fabric,
    ):
        yield fabric.attempt
    allowance.SHARE, channel.LAST_WORD = kept


TARGETS = {
    "registration": Target(
        "messages of partition daemons to the hosting daemon", _opened, 1500, needs_root=True
    )
}
