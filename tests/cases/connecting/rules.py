"""Connections that nftables judges: by mark, by user, by a rule that comes later, and a port that is redirected."""

from __future__ import annotations

import os
import socket
import threading
import time

from tests.cases.program import (
    PORT,
    SERVER,
    attempt,
    expect_direct,
    listen,
    main_two,
    reach,
    ready,
    run,
    say,
    serve,
    until_the_client_ends,
)

REDIRECTED, SILENT = PORT + 1, PORT + 2
NOBODY = 65534
LATE_S = 0.05


def answer_all(listener: socket.socket, name: bytes) -> None:
    """Says its name to each client, in a thread of its own."""

    def answer() -> None:
        while True:
            server, _ = listener.accept()
            server.recv(1)
            server.sendall(name)
            server.close()

    threading.Thread(target=answer, daemon=True).start()


def answer() -> None:
    answer_all(serve(), b"server")
    until_the_client_ends()


def add_rule(hook: str, kind: str, rule: str) -> None:
    """A rule for this case's port in a table of its own."""
    table = f"ip case{PORT}"
    run("nft", f"add table {table}")
    run("nft", f"add chain {table} {hook} {{ type {kind} hook {hook} priority 0; }}")
    run("nft", f"add rule {table} {hook} tcp dport {PORT} {rule}")


def ask(mark: int = 0) -> bytes:
    """What the server answers to a client with this mark."""
    with socket.socket() as client:
        client.settimeout(5)
        if mark:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
        client.connect((SERVER, PORT))
        client.sendall(b"q")
        answer = client.recv(16)
        if answer == b"server":
            expect_direct()
        return answer


def ask_marked() -> None:
    add_rule("output", "filter", "meta mark 7 reject with tcp reset")
    for _ in range(2):
        attempt("unmarked", ask)
        attempt("unmarked", ask)
        attempt("marked", ask, 7)
        attempt("with another mark", ask, 8)


def ask_as_nobody() -> None:
    add_rule("output", "filter", f"meta skuid {NOBODY} reject with tcp reset")
    attempt("as root", ask)
    attempt("as root", ask)
    os.setuid(NOBODY)
    attempt("as nobody", ask)
    attempt("as nobody", ask)


def ask_as_nobody_in_a_child() -> None:
    add_rule("output", "filter", f"meta skuid {NOBODY} reject with tcp reset")
    attempt("as root", ask)
    attempt("as root", ask)
    child = os.fork()
    if child == 0:
        os.setuid(NOBODY)
        attempt("as nobody", ask)
        os._exit(0)
    os.waitpid(child, 0)
    attempt("as root", ask)


def ask_before_and_after() -> None:
    attempt("before", ask)
    attempt("before", ask)
    add_rule("output", "filter", "reject with tcp reset")
    attempt("after", ask)
    run("nft", f"delete table ip case{PORT}")
    attempt("without the rule", ask)


def answer_redirected() -> None:
    add_rule("prerouting", "nat", f"redirect to :{REDIRECTED}")
    listener = listen(SERVER, PORT)
    answer_all(listener, b"server")
    answer_all(listen(SERVER, REDIRECTED), b"sidecar")
    ready()
    until_the_client_ends()


def ask_redirected() -> None:
    late = 0
    attempt("answer", ask)
    for _ in range(5):
        began = time.monotonic()
        attempt("answer", ask)
        late += time.monotonic() - began > LATE_S
    say("late", late)


def ask_by_device() -> None:
    """A socket that is bound to a device uses no other, whatever is known of the way."""
    device = f"d{PORT}"
    run("ip", "link", "add", device, "type", "veth", "peer", "name", f"{device}p")
    run("ip", "link", "set", device, "up")
    attempt("by any", ask)
    attempt("by any", ask)
    for name in ("e0", device):
        with socket.socket() as client:
            client.settimeout(1)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name.encode())
            attempt("by this" if name == "e0" else "by another", client.connect, (SERVER, PORT))
    run("ip", "link", "delete", device)


def ask_without_listener() -> None:
    """Each connect to a port without a listener is refused, and at once."""
    began = time.monotonic()
    for _ in range(5):
        attempt("connect", lambda: reach(SILENT).close())
    say("at once", time.monotonic() - began < 0.5)
    greet_once()


def greet_once() -> None:
    with reach() as client:
        client.sendall(b"q")
        attempt("answer", client.recv, 16)


def greet_server() -> None:
    with serve() as listener:
        server, _ = listener.accept()
        with server:
            server.recv(1)
            server.sendall(b"server")


main_two(
    {
        "mark": (answer, ask_marked),
        "user": (answer, ask_as_nobody),
        "user_of_child": (answer, ask_as_nobody_in_a_child),
        "rule_comes_later": (answer, ask_before_and_after),
        "device": (answer, ask_by_device),
        "redirect": (answer_redirected, ask_redirected),
        "no_listener": (greet_server, ask_without_listener),
    }
)
