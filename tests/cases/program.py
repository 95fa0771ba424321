"""What the case programs in Python share: connections, waiting for threads, and how results are printed."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path

from tests.framework.waiting import wait_until

LOOKS = 6
"""In a row that must find a thread blocked in the same call."""

ROLE = os.environ.get("CASE_ROLE", "")
SERVER, CLIENT = os.environ.get("CASE_SERVER", ""), os.environ.get("CASE_CLIENT", "")
PORT = int(os.environ.get("CASE_PORT", "0"))
ROUNDS = int(os.environ.get("CASE_ROUNDS", "1"))


def say(what: str, value: object) -> None:
    if isinstance(value, bool):
        value = "yes" if value else "no"
    print(f"{what}: {value}", flush=True)


def name_of(error: OSError) -> str:
    if error.errno is None:
        return "timed out"
    return errno.errorcode.get(error.errno, str(error.errno))


def attempt(what: str, function: Callable[..., object], *words: object) -> None:
    """Says what the function returned for these words, or its error; an empty text of bytes is the end."""
    try:
        value = function(*words)
    except OSError as error:
        say(what, name_of(error))
        return
    say(what, "end" if value == b"" else "done" if value is None else value)


def expect_direct() -> None:
    """Says so when a connection is direct and should not be, or the other way round."""
    wanted, mark = os.environ.get("CASE_DIRECT"), os.environ.get("CASE_MARK", "")
    if wanted is None:
        return
    lines = Path("/proc/self/maps").read_text().splitlines()
    found = any(mark in line and " r--s " in line for line in lines)
    if found != (wanted == "1"):
        print("the connection is direct and should not be" if found else "the connection is not direct")


def greet_as_client(client: socket.socket) -> None:
    """Bytes pass both ways, after which the connection is direct if it can be; the server does its part."""
    client.sendall(b"1")
    assert client.recv(1) == b"2"
    expect_direct()


def greet_as_server(server: socket.socket) -> None:
    assert server.recv(1) == b"1"
    server.sendall(b"2")


def listen(ip: str = "127.0.0.1", port: int = 0, backlog: int = 64) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((ip, port))
    listener.listen(backlog)
    return listener


def serve() -> socket.socket:
    """The listener of a case's server; the client is started only now."""
    listener = listen(SERVER, PORT)
    ready()
    return listener


def ready() -> None:
    print("READY", flush=True)


def reach(port: int = 0, timeout: float = 10) -> socket.socket:
    """A connection of a case's client to its server."""
    return socket.create_connection((SERVER, port or PORT), timeout)


def until_the_client_ends() -> None:
    """A server that has nothing to say ends here: its standard input is closed when the client has ended."""
    os.read(0, 1)


def call_of(thread: int) -> str:
    """The system call that a thread of any process is blocked in, or an empty text."""
    try:
        text = Path(f"/proc/{thread}/syscall").read_text()
    except OSError:
        return ""
    return "" if text.startswith("running") else text


def wait_asleep(thread: int) -> None:
    """Until a thread, or the first thread of a process, is blocked."""
    seen: list[str] = []

    def is_asleep() -> bool:
        call = call_of(thread)
        if not call or (seen and seen[-1] != call):
            seen.clear()
        if call:
            seen.append(call)
        return len(seen) >= LOOKS

    wait_until(is_asleep, 5, "a thread is blocked")


def start_asleep(function: Callable[[], None]) -> threading.Thread:
    """A thread that is blocked already."""
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    assert thread.native_id
    wait_asleep(thread.native_id)
    return thread


@cache
def told() -> int:
    """A FIFO by which the two programs of a case tell each other what no connection is to carry."""
    path = Path(os.environ["CASE_FOLDER"]) / f"told-{PORT}"
    with suppress(FileExistsError):
        os.mkfifo(path)
    return os.open(path, os.O_RDWR)  # which waits for nobody


def tell(text: str = "done") -> None:
    os.write(told(), f"{text}\n".encode())


def hear() -> str:
    text = b""
    while not text.endswith(b"\n"):
        text += os.read(told(), 1)
    return text.decode().strip()


def run(*words: str) -> None:
    """Runs a command that sets up the namespace, without the library."""
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    subprocess.run(words, check=True, env=environment)


def main_two(tests: Mapping[str, tuple[Callable[[], None], Callable[[], None]]]) -> None:
    """Does the server's part of a test or the client's, whichever this program is."""
    told()
    main({name: both[ROLE == "client"] for name, both in tests.items()})


def main(tests: Mapping[str, Callable[[], None]]) -> None:
    """Does the test that the first argument names, in each round; leaves without a word to threads that remain."""
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    for _ in range(ROUNDS):
        tests[sys.argv[1]]()
    sys.stdout.flush()
    os._exit(0)
