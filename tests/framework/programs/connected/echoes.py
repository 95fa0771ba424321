"""Echoes what one connection brings: echoes.py ADDRESS PORT."""

import socket
import sys

with socket.create_server((sys.argv[1], int(sys.argv[2]))) as listener:
    connection, _ = listener.accept()
while data := connection.recv(65536):
    connection.sendall(data)
