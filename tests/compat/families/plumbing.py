"""Programs that join connections with other programs, measure them, or time out: ncat, socat, nuttcp, qperf, Perl."""

from __future__ import annotations

import re
import select
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from threading import Thread
from typing import IO

from tests.compat.case import Case, script
from tests.compat.families import web
from tests.compat.places import PROGRAMS
from tests.compat.processes import kill_tree
from tests.compat.program import Holder, Needs, Program
from tests.framework.fabric.partition import Argv
from tests.framework.waiting import while_unready

CONVERSE_TIMEOUT_S = 15

NCAT = (("ncat", "ncat"),)


class Executing(Program):
    """A server that starts a program for each connection, which gets it as its input and output."""

    def __init__(self, name: str, debian: tuple[tuple[str, str], ...], server: str, client: str) -> None:
        self.name, self.server, self.client, self.needs = name, server, client, Needs(debian=debian)
        self.echoed = 40_000 if debian is NCAT else len(web.FILE)  # ncat stops when both directions are full

    def version(self) -> str:
        if "socat" in self.name:
            return self.said("socat", "-V", pattern=r"socat version (\S+)")
        return self.said("ncat", "--version")

    def _argv(self, text: str, case: Case, program: str = "") -> Argv:
        host, port = case.where
        words = [word.replace("@HOST@", host).replace("@PORT@", port) for word in text.split()]
        return [word.replace("@PROGRAM@", program) for word in words]

    @contextmanager
    def serve(self, case: Case) -> Iterator[None]:
        program = case.write("answer.sh", (PROGRAMS / "other/answer.sh").read_text())
        program.chmod(0o755)
        with case.running(case.server, self._argv(self.server, case, str(program))):
            yield

    def check(self, case: Case) -> None:
        client = self._argv(self.client, case)
        for size in (40_000, self.echoed):
            sent = b"echo\n" + web.FILE[:size]
            got = converse(case, client, sent, len(sent))
            assert got == sent, f"{len(got)} of {len(sent)} bytes came back, or wrong ones"
            digest = converse(case, client, b"digest %d\n" % len(web.FILE) + web.FILE, 64)
            assert digest[:64] == web.DIGEST.encode(), f"the digest is wrong: {digest!r}"

    def hold(self, case: Case) -> Holder:
        return case.hold_open(r"echo\n", 5)


def converse(case: Case, argv: Argv, sent: bytes, size: int) -> bytes:
    """What a client prints, up to `size` bytes; its input stays open, because ncat stops when it ends."""
    process = case.client.popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin and process.stdout
    writer = Thread(target=_write_all, args=(process.stdin, sent), daemon=True)
    writer.start()
    got = b""
    deadline = time.monotonic() + CONVERSE_TIMEOUT_S
    while len(got) < size and select.select([process.stdout], [], [], max(0, deadline - time.monotonic()))[0]:
        piece = process.stdout.read(65536)
        if not piece:
            break
        got += piece
    kill_tree(process.pid)
    writer.join(5)
    return got


def _write_all(stream: IO[bytes], data: bytes) -> None:
    view = memoryview(data)
    with suppress(OSError):
        while view:
            view = view[stream.write(view) :]


class Nuttcp(Program):
    """Each direction; it closes its input and gives the connection that number."""

    name = "nuttcp"
    needs = Needs(debian=(("nuttcp", "nuttcp"),))
    holds = False

    def version(self) -> str:
        return self.said("nuttcp", "-V", pattern=r"nuttcp-(\S+)")

    @contextmanager
    def serve(self, case: Case) -> Iterator[None]:
        with case.running(case.server, ["nuttcp", "-S", "--nofork", "-P", str(case.port)]):
            yield

    def check(self, case: Case) -> None:
        words = ["-P", str(case.port), "-p", str(case.port + 1), "-n", "64m", case.server.ip]
        for options in ((), ("-r",)):
            said = case.run(["nuttcp", *options, *words], timeout=15)
            assert re.search(r"64\.0000 MB /", said), said[-200:]


class Measuring(Program):
    """A program of measurement, whose output tells that it came to its end."""

    holds = False

    def __init__(self, name: str, server: str, clients: Sequence[str], good: str, needs: Needs) -> None:
        self.name, self.server, self.clients, self.good, self.needs = name, server, clients, good, needs

    def version(self) -> str:
        return self.said(self.name, "--version")

    @contextmanager
    def serve(self, case: Case) -> Iterator[None]:
        with case.running(case.server, self._argv(self.server, case)):
            yield

    def _argv(self, text: str, case: Case) -> Argv:
        host, port = case.where
        return [word.replace("@HOST@", host).replace("@PORT@", port) for word in text.split()]

    def check(self, case: Case) -> None:
        for client in self.clients:
            ask = partial(case.run, self._argv(client, case), timeout=20)
            said = while_unready(ask, "unable to connect to server")
            assert re.search(self.good, said), said[-200:]


class PerlAlarm(Program):
    """Receives that an alarm ends by a long jump; later ones on the same connection must work."""

    name = "Perl IO::Socket with alarm()"
    needs = Needs(debian=(("perl", "perl"),))

    def version(self) -> str:
        return self.said("perl", "-v", pattern=r"\(v([\d.]+)\)")

    @contextmanager
    def serve(self, case: Case) -> Iterator[None]:
        with case.running(case.server, script("late_echo.py", *case.where)):
            yield

    def _argv(self, case: Case, kind: str) -> Argv:
        return ["perl", str(PROGRAMS / "other/alarm.pl"), *case.where, kind]

    def check(self, case: Case) -> None:
        done = case.client.run(self._argv(case, "ask"), check=False, timeout=30)
        said = " ".join((done.stdout + done.stderr).split())
        assert "all right" in said, said[-300:]

    def hold(self, case: Case) -> Holder:
        return case.held(self._argv(case, "hold"))


NCAT_CLIENT = "ncat @HOST@ @PORT@"
SOCAT_CLIENT = "socat -t 10 - TCP:@HOST@:@PORT@"
SOCAT_SERVER = "socat TCP-LISTEN:@PORT@,bind=@HOST@,reuseaddr,fork EXEC:@PROGRAM@"

PLUMBING = [
    Executing("ncat -c", NCAT, "ncat -l -k @HOST@ @PORT@ -c @PROGRAM@", NCAT_CLIENT),
    Executing("ncat -e", NCAT, "ncat -l -k @HOST@ @PORT@ -e @PROGRAM@", NCAT_CLIENT),
    Executing("socat EXEC", (("socat", "socat"),), SOCAT_SERVER, SOCAT_CLIENT),
    Executing("socat EXEC,nofork", (("socat", "socat"),), f"{SOCAT_SERVER},nofork", SOCAT_CLIENT),
    Nuttcp(),
    Measuring(
        "qperf",
        "qperf -lp @PORT@",
        ("qperf -lp @PORT@ @HOST@ -t 1 tcp_bw tcp_lat",),
        r"(?s)tcp_bw:\s+bw\s+=.*tcp_lat:\s+latency\s+=",
        Needs(debian=(("qperf", "qperf"),)),
    ),
    Measuring(
        "iperf3",
        "iperf3 -s -B @HOST@ -p @PORT@",
        tuple(f"iperf3 -c @HOST@ -p @PORT@ -t 1 {way}" for way in ("-P 3", "-R", "--bidir")),
        r"iperf Done",
        Needs(debian=(("iperf3", "iperf3"),)),
    ),
    Measuring("netperf", "", (), "", Needs(unavailable="Debian has it in non-free only")),
    PerlAlarm(),
]
