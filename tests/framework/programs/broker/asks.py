"""Connects to each address of its input, and prints whether that was direct: asks.py PORT."""

import socket
import sys
from pathlib import Path

for line in sys.stdin:
    sock = socket.create_connection((line.strip(), int(sys.argv[1])))
    sock.sendall(b"hello")
    assert sock.recv(9) == b"hello"
    print("vnicd-region" in Path("/proc/self/maps").read_text(), flush=True)
    sock.close()
