"""ZeroMQ at both ends: `zmq_echo.py serve|ask|hold HOST PORT`; requests are answered, and published numbers arrive."""

import sys

import zmq

kind, host, port = sys.argv[1:]
REQUESTS, NUMBERS = 300, 2000
TIMEOUT_MS = 8000
context = zmq.Context()
where, published = f"tcp://{host}:{port}", f"tcp://{host}:{int(port) + 1}"


def body_of(number: int) -> bytes:
    return (b"%d;" % number) * (1 + number * 53 % 9000)


def serve() -> None:
    answering, publishing = context.socket(zmq.REP), context.socket(zmq.XPUB)
    publishing.sndhwm = 0
    publishing.bind(published)
    answering.bind(where)
    poller = zmq.Poller()
    poller.register(answering, zmq.POLLIN)
    poller.register(publishing, zmq.POLLIN)
    while True:
        for socket, _ in poller.poll():
            message = socket.recv()
            if socket is answering:
                socket.send(message)
            elif message[:1] == b"\x01":
                for number in range(NUMBERS):
                    publishing.send(b"%d" % number)


def request_socket() -> zmq.Socket:
    socket = context.socket(zmq.REQ)
    socket.rcvtimeo, socket.linger = TIMEOUT_MS, 0
    socket.connect(where)
    return socket


def ask() -> None:
    for round_ in range(3):
        socket = request_socket()
        for number in range(REQUESTS):
            socket.send(body_of(number))
            assert socket.recv() == body_of(number), f"request {number} of round {round_}"
        socket.close()
    subscriber = context.socket(zmq.SUB)
    subscriber.rcvtimeo, subscriber.rcvhwm, subscriber.linger = TIMEOUT_MS, 0, 0
    subscriber.connect(published)
    subscriber.subscribe(b"")
    got = [int(subscriber.recv()) for _ in range(NUMBERS)]
    assert got == list(range(NUMBERS)), "the published numbers are not in order"
    subscriber.close()
    print("all right")


def hold() -> None:
    socket = request_socket()
    socket.rcvtimeo = -1
    socket.send(b"x")
    assert socket.recv() == b"x"
    print("held", flush=True)
    monitor = socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
    monitor.recv_multipart()
    print("ended", flush=True)


{"serve": serve, "ask": ask, "hold": hold}[kind]()
context.term()
