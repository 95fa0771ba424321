"""What the ends of a connection between two programs see: names, ports, times, refusals."""

from __future__ import annotations

import errno
import select
import socket
import time

from tests.cases.program import (
    CLIENT,
    PORT,
    SERVER,
    attempt,
    expect_direct,
    greet_as_client,
    greet_as_server,
    hear,
    main_two,
    name_of,
    reach,
    ready,
    say,
    serve,
    tell,
    until_the_client_ends,
)

IP_BIND_ADDRESS_NO_PORT = 24
CONNECTIONS = 4
LATE_S = 0.15


def tell_names() -> None:
    """Says to each client what its name is, and keeps the connection."""
    kept = []
    with serve() as listener:
        for _ in range(CONNECTIONS):
            server, told = listener.accept()
            kept.append(server)
            server.recv(1)
            server.sendall(f"{told[1]} {server.getpeername()[1]}".encode())
        until_the_client_ends()


def ask_names(bind: bool) -> None:
    clients, ports = [], []
    for number in range(CONNECTIONS):
        client = socket.socket()
        clients.append(client)
        if bind and number > 0:  # the first one is of the usual kind
            client.setsockopt(socket.SOL_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            client.bind((CLIENT, 0))
        client.connect((SERVER, PORT))
        client.sendall(b"q")
        names = client.recv(64).decode().split()
        port = client.getsockname()[1]
        ports.append(port)
        say("the server knows it", names == [str(port)] * 2)
    expect_direct()
    say("different ports", len(set(ports)) == CONNECTIONS and 0 not in ports)


def ask_bound_names() -> None:
    ask_names(True)


def ask_plain_names() -> None:
    ask_names(False)


def answer_deferred() -> None:
    with serve_deferred() as listener:
        ready()
        for _ in range(CONNECTIONS):
            server, _ = listener.accept()
            server.recv(1)
            server.sendall(b"answer")
            server.close()


def serve_deferred() -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_TCP, socket.TCP_DEFER_ACCEPT, 5)
    listener.bind((SERVER, PORT))
    listener.listen(64)
    return listener


def ask_deferred() -> None:
    late = 0
    for _ in range(CONNECTIONS):
        began = time.monotonic()
        with reach() as client:
            client.sendall(b"q")
            attempt("answer", client.recv, 16)
            late += time.monotonic() - began > LATE_S
            expect_direct()
    say("late", late)


def shut_listener() -> None:
    """Accepts one connection, over which it says when the listener is shut down."""
    with serve() as listener:
        server, _ = listener.accept()
        listener.shutdown(socket.SHUT_RDWR)
        server.sendall(b"shut")
        until_the_client_ends()


def close_listener() -> None:
    listener = serve()
    server, _ = listener.accept()
    listener.close()
    server.sendall(b"shut")
    until_the_client_ends()


def connect_once() -> None:
    reach().close()


def ask_ended() -> None:
    with reach() as client:
        client.recv(4)
        expect_direct()
        began = time.monotonic()
        for _ in range(3):
            attempt("connect", connect_once)
        say("at once", time.monotonic() - began < 0.3)


def connect_in_steps() -> None:
    """Non-blocking connects: EINPROGRESS, then writable, then connected, for the first and for later ones."""
    for _ in range(CONNECTIONS):
        with socket.socket() as client:
            client.setblocking(False)
            say("connect", errno.errorcode.get(client.connect_ex((SERVER, PORT)), 0))
            poll = select.poll()
            poll.register(client, select.POLLOUT)
            say("events", [events for _, events in poll.poll(3000)])
            say("connect again", errno.errorcode.get(client.connect_ex((SERVER, PORT)), 0))
            client.setblocking(True)
            client.sendall(b"q")
            client.recv(64)
            expect_direct()


def fill_backlog() -> None:
    """Does not accept before the client has tried; then it counts those that came."""
    with socket.socket() as listener:
        listener.bind((SERVER, PORT))
        listener.listen(3)
        ready()
        with listener.accept()[0] as server:
            greet_as_server(server)
        hear()
        listener.setblocking(False)
        accepted = 0
        while True:
            try:
                listener.accept()[0].close()
            except BlockingIOError:
                break
            accepted += 1
        say("accepted", accepted)


def connect_many() -> None:
    with reach() as client:
        greet_as_client(client)
    clients = [socket.socket() for _ in range(12)]
    poll = select.poll()
    for client in clients:
        client.setblocking(False)
        client.connect_ex((SERVER, PORT))
        poll.register(client, select.POLLOUT)
    deadline = time.monotonic() + 0.3  # less than the kernel's second attempt takes
    done: set[int] = set()
    while (left := deadline - time.monotonic()) > 0:
        for number, _ in poll.poll(left * 1000):
            done.add(number)
            poll.unregister(number)
    say("connected", len(done))
    tell()


def talk() -> None:
    with serve() as listener:
        for _ in range(CONNECTIONS):
            server, _ = listener.accept()
            with server:
                while data := server.recv(65536):
                    server.sendall(data)


def listen_to() -> None:
    """A megabyte goes there and back, with an end in each direction."""
    data = bytes(range(256)) * 4096
    for _ in range(CONNECTIONS):
        with reach() as client:
            got, sent = bytearray(), 0
            client.setblocking(False)
            while len(got) < len(data):
                readable, writable, _ = select.select([client], [client] if sent < len(data) else [], [], 5)
                if readable:
                    got += client.recv(65536)
                if writable:
                    sent += client.send(data[sent : sent + 65536])
                if not readable and not writable:
                    break
            client.setblocking(True)
            client.shutdown(socket.SHUT_WR)
            say("the same came back", bytes(got) == data)
            expect_direct()
            attempt("then", client.recv, 16)


def reset() -> None:
    """Resets each connection by closing it with unread data."""
    with serve() as listener:
        for _ in range(CONNECTIONS):
            server, _ = listener.accept()
            with server:
                server.recv(1)
                server.sendall(b"1")
                server.recv(2, socket.MSG_PEEK)


def hear_reset() -> None:
    for _ in range(CONNECTIONS):
        with reach() as client:
            client.sendall(b"q")
            client.recv(1)
            expect_direct()
            client.sendall(b"unread")
            try:
                say("recv", client.recv(16) or "end")
            except OSError as error:
                say("recv", name_of(error))
            attempt("then", client.recv, 16)
            attempt("send", client.send, b"x")


main_two(
    {
        "names_between": (tell_names, ask_plain_names),
        "names_bound_without_port": (tell_names, ask_bound_names),
        "deferred": (answer_deferred, ask_deferred),
        "listener_shut": (shut_listener, ask_ended),
        "listener_closed": (close_listener, ask_ended),
        "connect_in_steps": (tell_names, connect_in_steps),
        "backlog_between": (fill_backlog, connect_many),
        "talk": (talk, listen_to),
        "reset_between": (reset, hear_reset),
    }
)
