"""Servers and clients of Python: uvicorn with uvloop, gunicorn, aiohttp, asyncio, gRPC."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests.compat.case import Case, python, script
from tests.compat.families import web
from tests.compat.places import PROGRAMS, ROOT, VENV
from tests.compat.program import Holder, Needs, Program
from tests.framework.programs import asyncecho
from tests.framework.waiting import pace

FOLDER = str(PROGRAMS / "python")


def version_of(package: str) -> str:
    """The version of a package in the matrix's environment."""
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    return Program().said(*python("-c", code))


class Served(Program):
    """A web server that runs an application of ours."""

    def __init__(
        self, name: str, packages: Sequence[str], words: Sequence[str], reloads: bool = False
    ) -> None:
        self.name, self.words, self.reloads = name, words, reloads
        self.needs = Needs(pip=tuple(packages))

    def version(self) -> str:
        return ", ".join(version_of(package) for package in self.needs.pip[:2])

    @contextmanager
    def serve(self, case: Case) -> Iterator[None]:
        case.write("file", web.FILE)
        case.write("small", "small\n" * 20)
        host, port = case.where
        words = [word.replace("@HOST@", host).replace("@PORT@", port) for word in self.words]
        program = [str(VENV / "bin" / words[0]), *words[1:]]
        with case.running(case.server, [*case.env(COMPAT_FOLDER=case.folder, PYTHONPATH=FOLDER), *program]):
            yield

    def check(self, case: Case) -> None:
        for kind in ("keep", "close"):
            web.ask(case, 200, kind, "echo")
        web.ask_file(case)

    def hold(self, case: Case) -> Holder:
        return web.hold(case)

    def reload(self, case: Case) -> None:
        with web.load(case):
            for _ in pace(0.7, 3):
                case.signal(signal.SIGHUP, "pid")


class Unkept(Served):
    """A server without keep-alive: what stays is a request whose body is not whole."""

    def hold(self, case: Case) -> Holder:
        return case.hold_open(r"POST /x HTTP/1.1\r\nHost: compat\r\nContent-Length: 9\r\n\r\nhalf", 0)


class Scripted(Program):
    """A Python program that is the server as well as the client."""

    def __init__(self, name: str, package: str, file: str) -> None:
        self.name, self.package, self.file = name, package, file
        self.needs = Needs(pip=(package,))

    def version(self) -> str:
        return version_of(self.package)

    @contextmanager
    def serve(self, case: Case) -> Iterator[None]:
        with case.running(case.server, script(self.file, "serve", *case.where)):
            yield

    def check(self, case: Case) -> None:
        done = case.client.run(script(self.file, "ask", *case.where), check=False, timeout=30)
        said = " ".join((done.stdout + done.stderr).split())
        assert "all right" in said, said[-300:]

    def hold(self, case: Case) -> Holder:
        return case.held(script(self.file, "hold", *case.where))


class Asyncio(Program):
    """The streams of this tree's own echo; its port is fixed."""

    name = "asyncio"

    def version(self) -> str:
        return sys.version.split()[0]

    @contextmanager
    def serve(self, case: Case) -> Iterator[None]:
        argv = [sys.executable, "-m", "tests.framework.programs.asyncecho", "serve", case.server.ip]
        with case.running(case.server, argv, asyncecho.PORT, cwd=ROOT):
            yield

    def check(self, case: Case) -> None:
        argv = [
            sys.executable,
            str(ROOT / "tests/framework/programs/asyncecho.py"),
            "ask",
            case.server.ip,
            "8",
            "1",
        ]
        said = case.run(argv)
        assert "came back over 8 connections" in said, said[-200:]

    def hold(self, case: Case) -> Holder:
        argv = script("hold.py", case.server.ip, str(asyncecho.PORT), "x", "1")
        return case.held(argv)


UVICORN = (
    "uvicorn --loop uvloop --http httptools --log-level warning --host @HOST@ --port @PORT@ asgi_echo:app"
)
GUNICORN = "gunicorn --bind @HOST@:@PORT@ --workers 2 --pid pid --log-level warning"

PYTHON_WEB = [
    Served("uvicorn with uvloop", ("uvicorn", "uvloop", "httptools"), UVICORN.split()),
    Unkept("gunicorn sync", ("gunicorn",), f"{GUNICORN} wsgi_echo:app".split(), reloads=True),
    Served(
        "gunicorn gthread",
        ("gunicorn",),
        f"{GUNICORN} -k gthread --keep-alive 60 wsgi_echo:app".split(),
        True,
    ),
    Scripted("aiohttp", "aiohttp", "aiohttp_echo.py"),
    Asyncio(),
    Scripted("gRPC", "grpcio", "grpc_echo.py"),
    Scripted("ZeroMQ", "pyzmq", "zmq_echo.py"),
]
