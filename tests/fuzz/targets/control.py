"""The control socket: bytes and JSON of any shape to the real server and the methods of a real hosting daemon.

The daemon is not ready yet, so its methods check what they are given and then change nothing.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from tests.framework.descriptors import open_fds
from tests.fuzz.choices import Choices, damaged
from tests.fuzz.target import Target, Try
from tests.fuzz.targets.fabric_file import make_tree
from tests.fuzz.targets.silence import Silence, silenced
from tests.fuzz.targets.turns import turn
from tests.fuzz.targets.words import check_line, partition, uplink
from vnicd.config import Options, Paths
from vnicd.errors import from_code
from vnicd.host.control.access import RULES
from vnicd.host.lock import HostLock
from vnicd.host.main import Host

CHECKING = ("partition.add", "uplink.set", "fabric.apply")
METHODS = (*RULES, *CHECKING * 6, "partition", "")
SLOW = ("fabric.down", "fabric.check", "sockets.list")
"""They look at the whole machine, or end the daemon, once their parameters are right: they get wrong ones."""


def _params(choices: Choices, method: str) -> Any:
    if method in SLOW:
        return {"x": choices.value()}
    if choices.one_in(8):
        return choices.value(4)
    if method == "partition.add":
        return _named(choices, partition(choices))
    if method == "uplink.set":
        return uplink(choices)
    if method == "fabric.apply":
        return {"declared": make_tree(choices), "dry_run": choices.pick((True, False, choices.value()))}
    return {"name": choices.pick(("web", choices.text(), choices.value()))} if choices.one_in(2) else {}


def _named(choices: Choices, given: Any) -> Any:
    """A partition's table with its name; what only the file knows is mostly left out."""
    if not isinstance(given, dict):
        return given
    if not choices.one_in(8):
        given.pop("publish", None)
    return {"name": choices.pick(("web", "web", choices.text(), choices.value())), **given}


def _request(choices: Choices) -> bytes:
    """A line: most are requests; none ends in one that is slow."""
    method = choices.pick(METHODS)
    message: Any = {"id": choices.below(100), "method": method, "params": _params(choices, method)}
    if choices.one_in(12):
        message[choices.pick(("id", "method", "params"))] = choices.value()
    if choices.one_in(24):
        message = choices.value(4)
    line = json.dumps(message).encode()
    if choices.one_in(8):
        line = damaged(choices, line)
    if choices.one_in(24):
        line = choices.pick(
            (b"[" * 5000, b"\xff\xfe", b"{" * 100, b'{"id": 1e400}', b"\0", b'"' * 70, b'{"a":' * 3000)
        )
    line = line.replace(b"\n", b" ")
    return b"{" if any(each.encode() in line and b'"x"' not in line for each in SLOW) else line


def _check(answer: bytes) -> None:
    assert answer.endswith(b"\n") and answer.count(b"\n") == 1, f"not one line: {answer[:200]!r}"
    message = json.loads(answer)
    assert isinstance(message["id"], int)
    if "error" in message:
        error = from_code(**message["error"])
        check_line(error)
        assert "internal error" not in error.message, error.message


class _Session:
    """A server with one client, in an event loop that runs as long as the client waits."""

    def __init__(self, folder: Path, silence: Silence) -> None:
        self.silence = silence
        self.loop = asyncio.new_event_loop()
        self.problems: list[str] = []
        self.loop.set_exception_handler(lambda loop, context: self.problems.append(str(context)))
        self.path = str(folder / "control.sock")
        paths = Paths(folder)
        self.lock = HostLock(paths)
        self.loop.run_until_complete(self._begin(paths))
        self.before = open_fds(collect=False)

    async def _begin(self, paths: Paths) -> None:
        self.host = Host(paths, Options(hugepages="never"), self.lock)
        self.host.settled.set()
        await self.host.server.listen(self.path)

    def close(self) -> None:
        self.loop.run_until_complete(self._end())
        self.loop.close()
        self.lock.close()

    async def _end(self) -> None:
        self.host.server.close()
        self.host.fabric.broker_service.broker.close()

    def attempt(self, data: bytes) -> int:
        choices = Choices(data)
        lines = []
        while choices.more:
            lines.append(_request(choices))
        text = b"\n".join(lines) + b"\n" * choices.below(2)
        count = text.count(b"\n") + (text != b"" and not text.endswith(b"\n"))
        self.loop.run_until_complete(
            asyncio.wait_for(self._talk(text, count, choices.below(3) * 1000 or 7), 30)
        )
        while self.host.server.clients:
            turn(self.loop)
        assert not self.problems, self.problems
        assert not self.silence.tracebacks, self.silence.tracebacks
        assert open_fds(collect=False) <= self.before, "a descriptor leaked"
        assert not self.host.fabric.changes, "something is being changed"
        return len(lines)

    async def _talk(self, text: bytes, count: int, piece: int) -> None:
        """Send all in pieces, read the answers meanwhile."""
        reader, writer = await asyncio.open_unix_connection(self.path, limit=1 << 22)
        for at in range(0, len(text), piece):
            writer.write(text[at : at + piece])
        writer.write_eof()
        for _ in range(count):
            _check(await reader.readline())
        assert await reader.read() == b"", "there are more answers than requests"
        writer.close()
        await writer.wait_closed()


@contextmanager
def _opened() -> Iterator[Try]:
    with (
        tempfile.TemporaryDirectory() as folder,
        silenced() as silence,
        closing(_Session(Path(folder), silence)) as session,
    ):
        yield session.attempt


TARGETS = {"control": Target("lines to the control socket and its methods", _opened, 400, needs_root=True)}
