"""Connects once for each word, plainly for the word plain: tries.py ADDRESS WORD..."""

import socket
import sys

SO_ZEROCOPY = 60

for port in sys.argv[2:]:
    sock = socket.socket()
    if port == "plain":
        sock.setsockopt(socket.SOL_SOCKET, SO_ZEROCOPY, 1)
    sock.connect_ex((sys.argv[1], 9))
print("connected", flush=True)
sys.stdin.read()
