"""A `vnicd` that does what FAKE_VNICD says: `python -m tests.framework.control.fakevnicd host|teardown|trace|...`."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any, NoReturn

from tests.framework.control.fakehost import FakeHost

CHECKS = [
    {"name": "tun", "status": "ok", "detail": "/dev/net/tun opens", "remedy": None},
    {"name": "hugepages", "status": "warn", "detail": "none is free", "remedy": "sysctl vm.nr_hugepages=64"},
]
FAILED = {"name": "namespaces", "status": "fail", "detail": "not allowed", "remedy": "run it as root"}


def traced(kind: str, at: int, text: str = "", **values: int | str) -> dict[str, Any]:
    """A record of a trace, at so many seconds after 2026-01-01 12:00."""
    record = {"thread": "control", "number": at, "pid": 4001, "kind": kind, "values": values, "text": text}
    return {**record, "monotonic_ns": at, "wall_ns": 1767268800 * 10**9 + at * 10**9 + 1000}


TRACE: dict[str, Any] = {
    "daemon": "blue",
    "pid": None,
    "records": [
        traced("started", 0, "0.1.0"),
        traced("attached", 1, link="00000000000000ff", peer=2, held=1),
        traced("report", 2, "made" + 5 * " no memory", link="00000000000000ff", peer=2),
        traced("host_lost", 86400),
    ],
}

ORPHAN = {"name": "orphan", "status": "warn", "detail": "red is left", "remedy": "vnicctl down"}


def main() -> None:
    runtime = Path(os.environ["VNICD_RUNTIME_DIR"])
    mode = os.environ.get("FAKE_VNICD", "")
    record = os.environ.get("FAKE_VNICD_RECORD")
    if record:
        about = {"argv": sys.argv[1:], "pid": os.getpid(), "session": os.getsid(0), "cwd": str(Path.cwd())}
        Path(record).write_text(json.dumps(about))
    if mode == "die":
        die("starting\nvnicd: no hugepages are free; see vnicctl doctor", 10)
    {"host": host, "teardown": teardown, "check": check, "orphans": leftovers, "trace": trace}[sys.argv[1]](
        runtime, mode
    )


def die(text: str, code: int) -> NoReturn:
    print(text, file=sys.stderr, flush=True)
    sys.exit(code)


def host(runtime: Path, mode: str) -> None:
    if mode == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, lambda *_: ended.set())
    # A test that forgets it does not keep it.
    signal.alarm(60)
    ready_at = time.monotonic() + (1.3 if mode == "slow" else 0)

    def ping(_: dict[str, Any]) -> dict[str, Any]:
        ready = mode != "never" and time.monotonic() > ready_at
        return {"ready": ready, "pid": os.getpid(), "version": "0.1.0", "starting": ["blue"]}

    def down(_: dict[str, Any]) -> dict[str, Any]:
        ended.set()
        return {"running": {"blue": [7], "green": list(range(1, 10))} if mode == "leaves" else {}}

    fake = FakeHost(runtime / "control.sock", {"fabric.ping": ping, "fabric.down": down})
    ended.wait()
    if mode == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    fake.close()


def teardown(runtime: Path, mode: str) -> None:
    for path in (runtime / "state.json", runtime / "control.sock"):
        path.unlink(missing_ok=True)


def check(runtime: Path, mode: str) -> None:
    checks = [*CHECKS, FAILED] if mode == "unfit" else CHECKS
    print(json.dumps({"checks": checks}))
    sys.exit(2 if mode == "unfit" else 0)


def leftovers(runtime: Path, mode: str) -> None:
    """A file of this name stands for one."""
    print(json.dumps({"checks": [ORPHAN] if (runtime / "orphan").exists() else []}))


def trace(runtime: Path, mode: str) -> None:
    name = sys.argv[2]
    if name not in ("blue", "host"):
        die(f"vnicd: there is no partition {name}; list them with: vnicctl partition list", 5)
    print(json.dumps({**TRACE, "daemon": name, "pid": 4000 if name == "host" else None}))


if __name__ == "__main__":
    main()
