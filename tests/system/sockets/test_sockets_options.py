"""Options, event descriptors and children of direct connections, and of TCP for comparison."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.framework.sockets.loopback import Run, running


@pytest.fixture(params=[True, False], ids=["direct", "plain"])
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    """Runs a program that begins with a connection; it must succeed and leave no relay behind."""
    with running(request.param) as runner:
        yield runner


BUFFERS = """
import select
SEND, RECEIVE, WINDOW = socket.SO_SNDBUF, socket.SO_RCVBUF, 65536

def sized(send, receive):
    '''A connection whose ends have set these (not where it is 0).'''
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    if receive:
        listener.setsockopt(socket.SOL_SOCKET, RECEIVE, receive)
    listener.listen()
    for _ in range(2):   # the second one may come without a handshake
        client = socket.socket()
        if send:
            client.setsockopt(socket.SOL_SOCKET, SEND, send)
        client.connect(listener.getsockname())
        server, _ = listener.accept()
        for one, other in ((client, server), (server, client)):
            one.sendall(b"1")
            assert other.recv(1) == b"1"
        yield client, server

def told(sock, option):
    return sock.getsockopt(socket.SOL_SOCKET, option)

def fill(sock):
    '''Bytes that nobody reads until there is no room.'''
    sock.setblocking(False)
    sent = 0
    try:
        while sent < 20_000_000:
            sent += sock.send(bytes(1000))
    except BlockingIOError:
        return sent

def check(client, server, receive):
    bound = told(client, SEND) + (told(server, RECEIVE) // 2 if receive else WINDOW)
    sent = fill(client)
    assert bound * 0.25 < sent < bound * 3, (sent, bound)
    poll = select.poll()
    poll.register(client, select.POLLOUT)
    edges = select.epoll()
    edges.register(client, select.EPOLLOUT | select.EPOLLET)
    assert not poll.poll(0)
    assert not edges.poll(0)
    reader = threading.Thread(target=lambda: assert_received(server, sent))
    reader.start()
    assert poll.poll(10_000), "there is room again"
    assert edges.poll(10), "and its edge"
    reader.join()

def assert_received(sock, count):
    assert len(receive(sock, count)) == count
"""


@pytest.mark.parametrize("send", [1, 4096, 20_000])
@pytest.mark.parametrize("receive", [0, 1, 4096, 20_000])
def test_buffers_that_were_set_before(run: Run, send: int, receive: int) -> None:
    """Who has set SO_SNDBUF has not more on the way than that and what the other end's SO_RCVBUF takes."""
    run(f"""{BUFFERS}
for client, server in sized({send}, {receive}):
    assert told(client, SEND) == max(2 * {send}, 4608)
    assert not {receive} or told(server, RECEIVE) == max(2 * {receive}, 2304)
    for _ in range(2):
        check(client, server, {receive})
    client.setblocking(True)
    data = os.urandom(1_000_000)
    sender = threading.Thread(target=client.sendall, args=[data])
    sender.start()
    assert receive(server, len(data)) == data
    sender.join()
""")


def test_buffers_that_are_set_later(run: Run) -> None:
    run(f"""{BUFFERS}
for client, server in sized(0, 0):
    assert fill(client) > 200_000
    receive(server, 200_000)
for client, server in sized(0, 4096):
    server.setsockopt(socket.SOL_SOCKET, SEND, 4096)
    client.setsockopt(socket.SOL_SOCKET, RECEIVE, 4096)
    assert told(server, SEND) == told(client, RECEIVE) == 8192
    assert fill(server) < 200_000
""")


EXCLUSIVE = """
import select, time

def is_asleep(thread):
    with open(f"/proc/self/task/{thread.native_id}/wchan") as file:
        return "poll" in file.read()

def woken(sock, flags, act):
    '''How many of four that wait, by an epoll each, are told when `act` was called.'''
    told, threads = [], []
    for _ in range(4):
        epoll = select.epoll()
        epoll.register(sock, select.EPOLLIN | flags)
        threads.append(threading.Thread(target=lambda epoll=epoll: told.extend(epoll.poll(0.4))))
        threads[-1].start()
    while not all(map(is_asleep, threads)):
        os.sched_yield()
    act()
    for thread in threads:
        thread.join()
    return len(told)

def connect():
    made.append(socket.create_connection(listener.getsockname()))

made = []
for _ in range(2):
    told = woken(listener, flags, connect)
    assert 1 <= told < 4 if flags & select.EPOLLEXCLUSIVE else told == 4, told
    listener.accept()
for _ in range(2):
    told = woken(server, flags, lambda: client.sendall(b"x"))
    assert 1 <= told < 4 if flags & select.EPOLLEXCLUSIVE else told == 4, told
    assert server.recv(10) == b"x"
"""


@pytest.mark.parametrize("flags", ["0", "select.EPOLLEXCLUSIVE", "select.EPOLLEXCLUSIVE | select.EPOLLET"])
def test_exclusive(run: Run, flags: str) -> None:
    """Of several epolls that have a listener or a connection in common, one at least is told, and not all."""
    run(f"import select\nflags = {flags}\n{EXCLUSIVE}")


def test_a_low_water_mark_above_what_is_on_the_way(run: Run) -> None:
    """The kernel makes its buffer larger for it; a poll must tell of the bytes in either case."""
    run("""
import select, threading
server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 600_000)
def write():
    client.sendall(bytes(1_000_000))
    client.shutdown(socket.SHUT_WR)
writer = threading.Thread(target=write)
writer.start()
poll = select.poll()
poll.register(server, select.POLLIN)
assert poll.poll(20_000)
assert len(receive(server)) == 1_000_000
writer.join()
""")


@pytest.mark.parametrize("request_number", ["0x8901", "0x8902"], ids=["FIOSETOWN", "SIOCSPGRP"])
def test_the_owner_of_signals_is_set_by_ioctl(run: Run, request_number: str) -> None:
    """After O_ASYNC was: there was no owner then."""
    run(f"""
import fcntl, signal, struct
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGIO])
fcntl.ioctl(server, 0x5452, struct.pack("i", 1))
fcntl.ioctl(server, {request_number}, struct.pack("i", os.getpid()))
client.sendall(b"x")
assert signal.sigtimedwait([signal.SIGIO], 10) is not None
""")
