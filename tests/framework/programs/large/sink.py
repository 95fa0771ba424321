"""Receives streams, fast or slowly, and answers each with its hash: sink.py fast|slow KEEP."""

import hashlib
import socket
import sys
import threading

listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
slow, keep = sys.argv[1] == "slow", int(sys.argv[2])
kept = []


def read(sock):
    digest = hashlib.sha256()
    while True:
        if slow:
            sock.recv(300_000, socket.MSG_PEEK)
        data = sock.recv(100_000 if slow else 1 << 20)
        if not data:
            break
        digest.update(data)
    sock.sendall(digest.digest())
    if keep:
        kept.append(sock)


while True:
    threading.Thread(target=read, args=[listener.accept()[0]], daemon=True).start()
