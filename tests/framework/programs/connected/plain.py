"""Connects to itself, and fails if that is direct."""

import socket
from pathlib import Path

listener = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(listener.getsockname())
server, _ = listener.accept()
client.sendall(b"plain")
assert server.recv(5) == b"plain"
assert "vnicd-region" not in Path("/proc/self/maps").read_text()
