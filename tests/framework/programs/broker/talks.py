"""Talks as often as its input says, each time on a connection: talks.py PORT ADDRESS."""

import socket
import sys
from pathlib import Path


def talk(times):
    sock = socket.create_connection((sys.argv[2], int(sys.argv[1])))
    for _ in range(times):
        sock.sendall(b"hello")
        assert sock.recv(9) == b"hello"
    is_direct = "vnicd-region" in Path("/proc/self/maps").read_text()
    sock.close()
    return is_direct


for line in sys.stdin:
    print(*(int(talk(int(word))) for word in line.split()), flush=True)
