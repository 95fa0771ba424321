"""Writes to a connection of its own after the other end has closed it."""

import socket
import sys

listener = socket.create_server(("127.0.0.1", 0))
sock = socket.create_connection(listener.getsockname())
far = listener.accept()[0]
far.setblocking(False)


def deliver(data):
    while data:
        try:
            data = data[sock.send(data, socket.MSG_DONTWAIT) :]
        except BlockingIOError:
            pass
        try:
            while far.recv(1 << 20):
                pass
        except BlockingIOError:
            pass


for size in (50_000_000, 4, 4):
    deliver(bytes(size))
print("delivered", flush=True)
sys.stdin.readline()
far.close()
print(sock.send(b"last"), flush=True)
