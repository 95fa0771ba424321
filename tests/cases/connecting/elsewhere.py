"""A client that goes to another network namespace reaches what is there, and nothing of where it was."""

from __future__ import annotations

import ctypes
import os
import socket
import threading

from tests.cases.program import (
    PORT,
    SERVER,
    attempt,
    expect_direct,
    listen,
    main_two,
    run,
    say,
    serve,
    until_the_client_ends,
)

CLONE_NEWNET = 0x40000000

libc = ctypes.CDLL(None, use_errno=True)


def answer_all(listener: socket.socket, name: bytes) -> None:
    while True:
        server, _ = listener.accept()
        server.recv(1)
        server.sendall(name)
        server.close()


def answer() -> None:
    listener = serve()
    threading.Thread(target=answer_all, args=[listener, b"server"], daemon=True).start()
    until_the_client_ends()


def ask() -> bytes:
    with socket.create_connection((SERVER, PORT), 5) as client:
        client.sendall(b"q")
        answer = client.recv(16)
        if answer == b"server":
            expect_direct()
        return answer


def leave() -> None:
    attempt("before", ask)
    attempt("before", ask)
    say("unshare", libc.unshare(CLONE_NEWNET))
    attempt("after", ask)
    attempt("after", ask)


def other_host(told: int, until: int) -> None:
    """A namespace of its own that has the server's address, and a listener at the same port."""
    libc.unshare(CLONE_NEWNET)
    run("ip", "link", "set", "lo", "up")
    run("ip", "address", "add", f"{SERVER}/32", "dev", "lo")
    threading.Thread(target=answer_all, args=[listen(SERVER, PORT), b"other"], daemon=True).start()
    os.write(told, b"1")
    os.read(until, 1)
    os._exit(0)


def change() -> None:
    (heard, told), (until, ended) = os.pipe(), os.pipe()
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    child = os.fork()
    if child == 0:
        os.close(ended)
        other_host(told, until)
    os.read(heard, 1)
    attempt("before", ask)
    attempt("before", ask)
    away = os.open(f"/proc/{child}/ns/net", os.O_RDONLY)
    say("setns", libc.setns(away, CLONE_NEWNET))
    attempt("there", ask)
    attempt("there", ask)
    say("setns", libc.setns(home, CLONE_NEWNET))
    attempt("back", ask)
    attempt("back", ask)
    os.close(ended)
    os.waitpid(child, 0)


def keep() -> None:
    """A connection outlives its program's stay in the namespace."""
    client = socket.create_connection((SERVER, PORT), 5)
    say("unshare", libc.unshare(CLONE_NEWNET))
    client.sendall(b"q")
    attempt("answer", client.recv, 16)
    attempt("then", client.recv, 16)


main_two({"unshare": (answer, leave), "setns": (answer, change), "kept_by_unshare": (answer, keep)})
