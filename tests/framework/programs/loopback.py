"""What a program of the loopback begins with; its own text follows, and uses all that is here."""

import ctypes  # noqa: F401
import os
import socket
import subprocess  # noqa: F401
import sys
import tempfile  # noqa: F401
import threading
from pathlib import Path

direct = bool(os.environ.get("LD_PRELOAD"))
listener = socket.create_server(("127.0.0.1", 0))


def pair():
    client = socket.create_connection(listener.getsockname())
    server, _ = listener.accept()
    client.sendall(b"1")
    assert server.recv(1) == b"1"
    server.sendall(b"2")
    assert client.recv(1) == b"2"
    maps = Path("/proc/self/maps").read_text()
    assert ("vnicd-region" in maps) == direct, "the connection is not as it should be"
    return client, server


def receive(sock, count=None):
    got = bytearray()
    while count is None or len(got) < count:
        piece = sock.recv(65536)
        if not piece:
            break
        got += piece
    return bytes(got)


def echoed(sock, count=2_000_000):
    data = os.urandom(count)

    def send():
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)

    sender = threading.Thread(target=send)
    sender.start()
    assert receive(sock) == data
    sender.join()


client, server = pair()
number = server.fileno()
os.set_inheritable(number, True)
ECHO = """
import socket, sys
sock = socket.socket(fileno=int(sys.argv[1]))
assert sock.getpeername() == ("127.0.0.1", int(sys.argv[2])), sock.getpeername()
while data := sock.recv(65536):
    sock.sendall(data)
"""
echo = [sys.executable, "-c", ECHO, str(number), str(client.getsockname()[1])]
