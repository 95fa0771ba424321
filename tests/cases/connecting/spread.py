"""Servers of several processes: connections are spread over all of them."""

from __future__ import annotations

import os
import socket
import sys
from collections import Counter
from contextlib import ExitStack

from tests.cases.program import (
    PORT,
    SERVER,
    expect_direct,
    listen,
    main_two,
    reach,
    ready,
    say,
    until_the_client_ends,
    wait_asleep,
)

WORKERS = 4
CONNECTIONS = 200


def share() -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind((SERVER, PORT))
    listener.listen(256)
    return listener


def keep_all(listener: socket.socket, number: int) -> None:
    """Says its number on each connection, and keeps them."""
    kept = []
    while True:
        server, _ = listener.accept()
        server.sendall(b"%d" % number)
        kept.append(server)


def serve_with_workers(listeners: list[socket.socket | None]) -> None:
    """Each worker accepts at a listener of its own or at one that they share; all wait when the client comes."""
    workers = []
    for number, listener in enumerate(listeners):
        worker = os.fork()
        if worker == 0:
            keep_all(listener or share(), number)
        workers.append(worker)
    for worker in workers:
        wait_asleep(worker)
    ready()
    until_the_client_ends()
    for worker in workers:
        os.kill(worker, 9)
        os.waitpid(worker, 0)


def share_port() -> None:
    serve_with_workers([None] * WORKERS)


def count_workers() -> None:
    """With 200 connections each of four workers gets some 50."""
    counted: Counter[bytes] = Counter()
    with ExitStack() as stack:
        for _ in range(CONNECTIONS):
            client = stack.enter_context(reach())
            counted[client.recv(1)] += 1
        expect_direct()
    say(
        "workers with less than a tenth",
        WORKERS - sum(number >= CONNECTIONS / 10 for number in counted.values()),
    )


def serve_one_by_one(listener: socket.socket) -> None:
    """Serves a client until it goes, and then the next."""
    while True:
        server, _ = listener.accept()
        server.recv(1)
        server.sendall(b"s")
        server.recv(1)
        server.close()


def fork_workers(listener: socket.socket) -> None:
    workers = []
    for _ in range(WORKERS):
        worker = os.fork()
        if worker == 0:
            serve_one_by_one(listener)
        workers.append(worker)
    for worker in workers:
        wait_asleep(worker)
    ready()
    until_the_client_ends()
    for worker in workers:
        os.kill(worker, 9)
        os.waitpid(worker, 0)


def prefork() -> None:
    fork_workers(listen(SERVER, PORT, 128))


def activated() -> None:
    """The listener comes from a program without the library, as in socket activation."""
    if "CASE_LISTENER" in os.environ:
        fork_workers(socket.socket(fileno=int(os.environ["CASE_LISTENER"])))
        return
    library = os.environ.pop("LD_PRELOAD", "")
    if library:
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | {"CASE_PRELOAD": library})
    listener = listen(SERVER, PORT, 128)
    listener.set_inheritable(True)
    environment = os.environ | {"CASE_LISTENER": str(listener.fileno())}
    if preload := environment.pop("CASE_PRELOAD", ""):
        environment["LD_PRELOAD"] = preload
    os.execve(sys.executable, [sys.executable, *sys.argv], environment)


def use_all_at_once() -> None:
    """Four clients at once are served by four workers at once, again and again."""
    waited = 0
    for _ in range(5):
        with ExitStack() as stack:
            clients = [stack.enter_context(reach(timeout=1)) for _ in range(WORKERS)]
            for client in clients:
                client.sendall(b"r")
            for client in clients:
                try:
                    client.recv(1)
                except TimeoutError:
                    waited += 1
            expect_direct()
            if waited:
                break
    say("waited for another client's end", waited)


main_two(
    {
        "reuse_port_of_workers": (share_port, count_workers),
        "prefork_of_workers": (prefork, use_all_at_once),
        "activated": (activated, use_all_at_once),
    }
)
