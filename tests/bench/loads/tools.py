"""Running the programs that measure: clients to their end, servers for as long as a measurement takes."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from tests.bench.environments import Environment, Side
from tests.bench.loads.parsing import TCP_LISTEN, has_socket
from tests.framework.waiting import wait_until

Protocol = Literal["tcp", "udp"]

GRACE = 15.0
"""Seconds that a program may take beyond the time it was told to measure."""

READY_TIMEOUT = 10.0


class ToolFailed(Exception):
    """A program that measures did not do its work."""


def run(environment: Environment, side: Side, command: Sequence[str], seconds: float = 0) -> str:
    """Standard output of `command`, which should take about `seconds`."""
    try:
        done = subprocess.run(
            environment.argv_in(side, command),
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=seconds + GRACE,
        )
    except subprocess.TimeoutExpired as error:
        raise ToolFailed(f"{command[0]} did not end within {error.timeout:g} s") from error
    # iperf3 puts its error into its JSON; the parser reports it then.
    if done.returncode and not done.stdout.lstrip().startswith("{"):
        raise ToolFailed(
            f"{command[0]}: exit {done.returncode}: {(done.stderr or done.stdout)[-300:].strip()}"
        )
    return done.stdout


@contextmanager
def server(
    environment: Environment,
    side: Side,
    command: Sequence[str],
    port: int,
    kind: Protocol,
    stop: signal.Signals = signal.SIGKILL,
) -> Iterator[None]:
    """`command`, from when its port is open until the measurement is over; `stop` is what ends it."""
    process = subprocess.Popen(
        environment.argv_in(side, command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        namespace = Path(environment.namespace(side)).stat().st_ino

        def ready() -> bool:
            if process.poll() is not None:
                raise ToolFailed(f"the server {command[0]} ended with exit code {process.returncode}")
            return _is_open(process.pid, namespace, port, kind)

        wait_until(ready, READY_TIMEOUT, f"{command[0]} listens on {kind} port {port}")
        yield
    finally:
        process.send_signal(stop)
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired as error:
            process.kill()
            process.wait()
            raise ToolFailed(f"{command[0]} did not end on {stop.name}") from error


def _is_open(pid: int, namespace: int, port: int, kind: str) -> bool:
    """Whether the port is open in the namespace of `pid`, once it is there."""
    proc = Path(f"/proc/{pid}")
    state = TCP_LISTEN if kind == "tcp" else ""
    for table in (kind, f"{kind}6"):
        # Either is missing when the process has just ended, and the second on a machine without IPv6.
        with suppress(FileNotFoundError, ProcessLookupError):
            here = (proc / "ns/net").stat().st_ino == namespace
            if here and has_socket((proc / "net" / table).read_text(), port, state):
                return True
    return False
