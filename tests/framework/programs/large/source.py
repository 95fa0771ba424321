"""Sends streams and compares hashes: source.py PORT COUNT MEGABYTES KEEP."""

import hashlib
import random
import socket
import sys

port, count, megabytes, keep = map(int, sys.argv[1:])
data = random.randbytes(1_000_003)
kept = []
for _ in range(count):
    sock, digest = socket.create_connection(("127.0.0.1", port)), hashlib.sha256()
    for _ in range(megabytes):
        sock.sendall(data)
        digest.update(data)
    sock.shutdown(socket.SHUT_WR)
    assert sock.recv(32, socket.MSG_WAITALL) == digest.digest()
    kept = [*kept, sock] if keep else []
print("sent", flush=True)
sys.stdin.read()
