"""Late looks at servers that answered and closed, and at servers that were killed, from another program."""

from __future__ import annotations

import os
import select
import signal
import socket
from contextlib import suppress
from pathlib import Path

from tests.cases.program import (
    PORT,
    SERVER,
    attempt,
    greet_as_client,
    greet_as_server,
    hear,
    main_two,
    name_of,
    reach,
    say,
    serve,
    tell,
    until_the_client_ends,
)
from tests.framework.waiting import wait_until

CONNECTIONS = 4
ESTABLISHED = "01"
BANNER = b"421 too many connections\r\n"


def banner(then_shut: bool) -> None:
    """Answers, ends its side, and only then says so."""
    kept = []
    with serve() as listener:
        for _ in range(CONNECTIONS):
            server, _ = listener.accept()
            server.sendall(BANNER)
            if then_shut:
                server.shutdown(socket.SHUT_WR)
                kept.append(server)
            else:
                server.close()
            tell()


def banner_and_close() -> None:
    banner(False)


def banner_and_shut() -> None:
    banner(True)


def wait_for_the_end() -> None:
    """The server has closed, and a TCP connection's end, or what else the kernel makes of it, has come."""
    hear()
    remote = f":{PORT:04X}"

    def is_over() -> bool:
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
        return not any(row[2].endswith(remote) and row[3] == ESTABLISHED for row in rows)

    with suppress(AssertionError):  # where no TCP connection carries the bytes it may remain
        wait_until(is_over, 0.3, "the kernel has heard of the end")


def look_late() -> None:
    """A busy event loop: nothing is asked of the connection before the server has ended it."""
    for _ in range(CONNECTIONS):
        with socket.socket() as client:
            client.setblocking(False)
            attempt("connect", client.connect, (SERVER, PORT))
            wait_for_the_end()
            poll = select.poll()
            poll.register(client, select.POLLOUT)
            say("writable", [events & select.POLLOUT for _, events in poll.poll(3000)])
            say("SO_ERROR", client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
            client.setblocking(True)
            client.settimeout(3)
            attempt("recv", client.recv, 100)
            attempt("recv", client.recv, 100)


def look_late_blocking() -> None:
    for _ in range(CONNECTIONS):
        with reach(timeout=3) as client:
            wait_for_the_end()
            attempt("recv", client.recv, 100)
            attempt("recv", client.recv, 100)


def serve_to_be_killed() -> None:
    """A child for each connection tells its number, and waits."""
    listener = serve()
    for _ in range(CONNECTIONS):
        child = os.fork()
        if child == 0:
            server, _ = listener.accept()
            greet_as_server(server)
            tell(str(os.getpid()))
            signal.pause()
        os.waitpid(child, 0)
    until_the_client_ends()


def kill(client: socket.socket) -> None:
    """Kills the connection's server, and goes on when it is dead and the kernel has said so.

    That can take some milliseconds, as long as the hosting daemon has copies of the server's descriptors.
    """
    greet_as_client(client)
    process = os.pidfd_open(int(hear()))
    signal.pidfd_send_signal(process, signal.SIGKILL)
    select.select([process], [], [])
    os.close(process)
    select.select([client], [], [], 2)


def look_at_dead() -> None:
    with reach() as client:
        kill(client)
        attempt("recv", client.recv, 1, socket.MSG_DONTWAIT)
    with reach() as client:
        kill(client)
        poll = select.poll()
        poll.register(client, select.POLLIN)
        say("poll", [events for _, events in poll.poll(0)])
    with reach() as client:
        kill(client)
        say("select", len(select.select([client], [], [], 0)[0]))
    with reach() as client:
        epoll = select.epoll()
        epoll.register(client, select.EPOLLIN)
        kill(client)
        say("epoll", [events for _, events in epoll.poll(0)])


def send_to_dead() -> None:
    """A pool that sends its next request without a look: the first send is taken, and then the end is there."""
    for _ in range(CONNECTIONS):
        with reach(timeout=3) as client:
            kill(client)
            attempt("send", client.send, b"x")
            try:
                said = client.recv(1) or "end"
            except OSError as error:
                said = name_of(error)
            say("recv", said)


main_two(
    {
        "late_at_banner_closed": (banner_and_close, look_late),
        "late_at_banner_shut": (banner_and_shut, look_late),
        "late_at_banner_blocking": (banner_and_close, look_late_blocking),
        "dead_server": (serve_to_be_killed, look_at_dead),
        "dead_server_sent_to": (serve_to_be_killed, send_to_dead),
    }
)
