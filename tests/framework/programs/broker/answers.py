"""Answers the first bytes of each connection: answers.py PORT ADDRESS."""

import socket
import sys

listener = socket.create_server((sys.argv[2], int(sys.argv[1])), reuse_port=True)
print("ready", flush=True)
while True:
    client, _ = listener.accept()
    client.sendall(client.recv(9))
