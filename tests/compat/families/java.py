"""Java: blocking sockets, selectors, the JDK's HTTP server and client, and shutdownInput."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.compat.build import compiled
from tests.compat.case import Case
from tests.compat.families import web
from tests.compat.places import PROGRAMS
from tests.compat.program import Holder, Needs, Program
from tests.framework.fabric.partition import Argv

SOURCES = PROGRAMS / "java"


class Java(Program):
    needs = Needs(debian=(("openjdk-17-jdk-headless", "javac"),))

    def __init__(self, name: str, server: str, client: str, holds: bool = True, word: str = "ask") -> None:
        self.name, self.server, self.client, self.holds, self.word = name, server, client, holds, word

    def version(self) -> str:
        return self.said("java", "-version")

    def _argv(self, name: str, word: str, case: Case) -> Argv:
        classes = compiled(
            "java", SOURCES, ["javac", "-d", "@OUT@", *map(str, sorted(SOURCES.glob("*.java")))]
        )
        return ["java", "-Xshare:auto", "-Xmx256m", "-cp", str(classes), name, word, *case.where]

    @contextmanager
    def serve(self, case: Case) -> Iterator[None]:
        with case.running(case.server, self._argv(self.server, "serve", case)):
            yield

    def check(self, case: Case) -> None:
        done = case.client.run(self._argv(self.client, self.word, case), check=False, timeout=25)
        said = " ".join((done.stdout + done.stderr).split())
        assert "all right" in said, said[-300:]

    def hold(self, case: Case) -> Holder:
        return case.held(self._argv(self.client, "hold", case))


class JavaWeb(Java):
    def hold(self, case: Case) -> Holder:
        return case.hold_open(r"POST /x HTTP/1.1\r\nHost: compat\r\nContent-Length: 4\r\n\r\nheld", 20)

    def check(self, case: Case) -> None:
        super().check(case)
        web.ask(case, 60, "close", "echo")


JAVA = [
    Java("Java blocking", "Duplex", "Duplex"),
    Java("Java with setSoTimeout", "Duplex", "Duplex", word="timed"),
    Java("Java NIO", "Nio", "Nio"),
    JavaWeb("Java HttpServer, HttpClient", "Web", "Web"),
    Java("Java shutdownInput", "Duplex", "ShutdownInput", holds=False),
]
