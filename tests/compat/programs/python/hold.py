"""Keeps a connection: `hold.py HOST PORT QUESTION COUNT` asks, says "held" when COUNT bytes came, waits for the end."""

import socket
import sys

host, port, question, count = sys.argv[1:]
with socket.create_connection((host, int(port)), timeout=10) as sock:
    sock.settimeout(None)
    sock.sendall(question.encode().decode("unicode_escape").encode("latin-1"))
    got = 0
    while got < int(count):
        piece = sock.recv(65536)
        assert piece, f"the server ended the connection after {got} bytes"
        got += len(piece)
    print("held", flush=True)
    try:
        while sock.recv(65536):
            pass
    except ConnectionError:
        pass
print("ended", flush=True)
