"""vnicctl without Python's start: forked from a process that has loaded its modules before.

A run of the tests calls vnicctl some thousands of times, and most of the time of such a call is loading modules. So a
process of the session loads them once, and forks for each call: what runs is the same code, in a process of its own,
with the environment, directory and output of the caller. The calls that test how the program itself starts, is
interrupted or shows something on a terminal take the executable.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import IO

PLACES = ("net", "mnt")
"""Namespaces that a forked vnicctl has in common with the process that it was forked from."""

MODULES = ("vnicd.cli.main", "json", "subprocess", "rich.table", "rich.console")


def run(
    argv: tuple[str, ...], env: dict[str, str], timeout: float
) -> subprocess.CompletedProcess[str] | None:
    """The finished `vnicctl ARGV`; None where the caller is in other namespaces than the first caller was.

    Raises subprocess.TimeoutExpired, as subprocess.run does; the call was killed then.
    """
    server = _server(os.getpid())
    if server.places != _places():
        return None
    return server.run(argv, env, timeout)


def begin() -> None:
    """Starts the process that forks, which otherwise the first call does."""
    _server(os.getpid())


def _places() -> list[str]:
    return [str(Path(f"/proc/thread-self/ns/{kind}").readlink()) for kind in PLACES]


@functools.cache
def _server(pid: int) -> Server:
    """The one of this process, `pid`: a fork of it has none yet."""
    return Server()


class Server:
    """The process that forks, and the way to it; it ends when this one does."""

    def __init__(self) -> None:
        self.places = _places()
        self.name = f"\0vnicd-test-forked-cli-{os.getpid()}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(self.name)
            listener.listen(64)
            life, self.life = os.pipe()
            argv = [sys.executable, "-m", __name__, str(listener.fileno()), str(life)]
            self.process = subprocess.Popen(
                argv, pass_fds=(listener.fileno(), life), stdin=subprocess.DEVNULL
            )
            os.close(life)

    def run(
        self, argv: tuple[str, ...], env: dict[str, str], timeout: float
    ) -> subprocess.CompletedProcess[str]:
        deadline = time.monotonic() + timeout
        outputs = [os.pipe(), os.pipe()]
        with contextlib.ExitStack() as stack:
            streams = [stack.enter_context(open(reader, "rb", buffering=0)) for reader, _ in outputs]
            channel = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            channel.connect(self.name)
            request = json.dumps({"argv": argv, "env": env, "cwd": str(Path.cwd())}).encode()
            writers = [writer for _, writer in outputs]
            try:
                socket.send_fds(channel, [len(request).to_bytes(4, "little")], writers)
            finally:
                for writer in writers:
                    os.close(writer)
            channel.sendall(request)
            texts = _read_all([*streams, channel], deadline)
            if texts is None:
                channel.close()  # the server kills it
                raise subprocess.TimeoutExpired(["vnicctl", *argv], timeout)
        out, err, code = texts
        return subprocess.CompletedProcess(["vnicctl", *argv], int(code), out.decode(), err.decode())


def _read_all(streams: list[IO[bytes] | socket.socket], deadline: float) -> list[bytes] | None:
    """What comes from each until its end; None when that does not come in time."""
    texts = {stream.fileno(): b"" for stream in streams}
    order = list(texts)
    with selectors.DefaultSelector() as selector:
        for stream in streams:
            selector.register(stream, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(max(0.0, deadline - time.monotonic()))
            if not ready:
                return None
            for key, _ in ready:
                piece = os.read(key.fd, 65536)
                texts[key.fd] += piece
                if not piece:
                    selector.unregister(key.fileobj)
    return [texts[fd] for fd in order]


# ------------------------------------------------------------------------------------------ the other process


def serve(listener: socket.socket, life: int) -> None:
    """Forks for each request until `life` is closed by the process that the requests are from."""
    _load()
    callers: dict[int, socket.socket] = {}
    wake, woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(woken)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    with selectors.DefaultSelector() as selector:
        for waited in (listener, life, wake):
            selector.register(waited, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fd == life:
                    return
                if key.fd == wake:
                    os.read(wake, 4096)
                    _answer(callers, selector)
                elif key.fileobj is listener:
                    caller = listener.accept()[0]
                    pid = _fork(caller, [listener.fileno(), life, wake, woken])
                    callers[pid] = caller
                    selector.register(caller, selectors.EVENT_READ, pid)
                elif key.data in callers:  # it has given up
                    selector.unregister(key.fileobj)
                    os.kill(key.data, signal.SIGKILL)


def _load() -> None:
    from vnicd.cli.app import COMMANDS, SHORT_FORMS

    for place in (
        *MODULES,
        *(place.partition(":")[0] for place in (*COMMANDS.values(), *SHORT_FORMS.values())),
    ):
        importlib.import_module(place)
    gc.collect()
    gc.freeze()


def _answer(callers: dict[int, socket.socket], selector: selectors.BaseSelector) -> None:
    """The exit code of each that has ended, to its caller."""
    while callers:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        caller = callers.pop(pid)
        with contextlib.suppress(KeyError):
            selector.unregister(caller)
        with caller, contextlib.suppress(OSError):
            caller.sendall(str(os.waitstatus_to_exitcode(status)).encode())
            caller.shutdown(socket.SHUT_WR)  # others that were forked meanwhile have it, too


def _fork(caller: socket.socket, ours: list[int]) -> int:
    head, fds, _, _ = socket.recv_fds(caller, 4, 2)
    text = b""
    while len(text) < int.from_bytes(head, "little"):
        text += caller.recv(65536)
    pid = os.fork()
    if pid == 0:
        code = 255
        try:
            code = _become(json.loads(text), fds, [*ours, caller.fileno()])
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    for fd in fds:
        os.close(fd)
    return pid


def _become(request: dict[str, object], outputs: list[int], ours: list[int]) -> int:
    """Everything as in a process that was started for this call; its exit code."""
    from vnicd.cli.main import main

    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for fd, place in zip(outputs, (1, 2), strict=True):
        os.dup2(fd, place)
    for fd in (*outputs, *ours):
        os.close(fd)
    sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)
    os.chdir(str(request["cwd"]))
    os.environ.clear()
    os.environ.update(request["env"])  # type: ignore[arg-type]
    sys.argv = ["vnicctl", *request["argv"]]  # type: ignore[misc]
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    return code


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]))
