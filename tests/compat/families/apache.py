"""Apache httpd with its event and prefork modules: it defers accepts by default, which ab shows."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from tests.compat.case import Case
from tests.compat.families import web
from tests.compat.places import PROGRAMS
from tests.compat.program import Holder, Needs, Program
from tests.framework.fabric.partition import Argv
from tests.framework.waiting import pace

CONFIG = (PROGRAMS / "config/apache.conf").read_text()


class Apache(Program):
    needs = Needs(debian=(("apache2", "apache2"), ("apache2-utils", "ab")))
    reloads = True

    def __init__(self, model: str) -> None:
        self.name, self.model = f"Apache httpd {model}", model

    def version(self) -> str:
        return self.said("/usr/sbin/apache2", "-v", pattern=r"Apache/(\S+)")

    def _argv(self, case: Case) -> Argv:
        case.write("www/file", web.FILE)
        case.write("www/small", "small\n" * 20)
        text = CONFIG.replace("@FOLDER@", str(case.folder)).replace("@AT@", case.at)
        config = case.write("apache.conf", text.replace("@MODEL@", self.model))
        return ["/usr/sbin/apache2", "-D", "FOREGROUND", "-f", str(config)]

    @contextmanager
    def serve(self, case: Case) -> Iterator[None]:
        with case.running(case.server, self._argv(case)):
            yield

    def check(self, case: Case) -> None:
        web.ab(case, path="small")
        web.ab(case, "-k", path="small")
        web.ask_file(case)

    def hold(self, case: Case) -> Holder:
        return web.hold(case)

    def reload(self, case: Case) -> None:
        with web.load(case):
            for _ in pace(1, 2):
                case.signal(signal.SIGUSR1, "apache.pid")


APACHE = [Apache("event"), Apache("prefork")]
