"""nginx: reuseport, deferred accepts, reload under load, and PHP-FPM behind it by FastCGI over TCP."""

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

WORKERS, BALANCED = 4, 40
"""Processes of nginx, and connections that one of them must not get all."""

CONFIG = (PROGRAMS / "config/nginx.conf").read_text()


def configured(
    case: Case, name: str, listen: str, location: str = "", workers: int = WORKERS, upstream: str = ""
) -> Argv:
    """The command of an nginx that stays in the foreground."""
    folder = case.folder / name
    case.write(f"{name}/www/file", web.FILE)
    case.write(f"{name}/www/small", "small\n" * 20)
    config = case.write(
        f"{name}/nginx.conf",
        CONFIG.replace("@FOLDER@", str(folder))
        .replace("@LISTEN@", listen)
        .replace("@WORKERS@", str(workers))
        .replace("@LOCATION@", location)
        .replace("@UPSTREAM@", upstream),
    )
    return ["nginx", "-e", str(folder / "error.log"), "-p", str(folder), "-c", str(config)]


class Nginx(Program):
    needs = Needs(debian=(("nginx-light", "nginx"), ("apache2-utils", "ab")))
    reloads = True

    def __init__(self, name: str, options: str, note: str = "") -> None:
        self.name, self.options, self.note = name, options, note

    def version(self) -> str:
        return self.said("nginx", "-v")

    @contextmanager
    def serve(self, case: Case) -> Iterator[None]:
        with case.running(case.server, configured(case, "nginx", f"{case.at} {self.options}")):
            yield

    def check(self, case: Case) -> None:
        self._check_balance(case)
        web.ask_file(case)
        web.ab(case, path="small")
        web.ab(case, "-k", path="small")

    def _check_balance(self, case: Case) -> None:
        """With reuseport connections are spread over the workers: one must not get all that a process makes."""
        if self.options == "reuseport":
            urls = [case.url("pid")] * BALANCED
            asked = case.run(["curl", "-sS", "-H", "Connection: close", *urls]).split()
            assert len(asked) == BALANCED, f"{len(asked)} of {BALANCED} answers"
            assert len(set(asked)) > 1, f"one of {WORKERS} workers got all of {BALANCED} connections"

    def hold(self, case: Case) -> Holder:
        return web.hold(case)

    def reload(self, case: Case) -> None:
        with web.load(case):
            for _ in pace(2, 2):
                case.signal(signal.SIGHUP, "nginx/nginx.pid")


NGINX = [
    Nginx("nginx", ""),
    Nginx("nginx reuseport", "reuseport"),
    Nginx("nginx deferred", "deferred"),
]
