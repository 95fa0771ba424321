"""Echoes all bytes of one connection after the other: echoes.py PORT ADDRESS."""

import socket
import sys

listener = socket.create_server((sys.argv[2], int(sys.argv[1])))
print("ready", flush=True)
while True:
    client, _ = listener.accept()
    while data := client.recv(9):
        client.sendall(data)
