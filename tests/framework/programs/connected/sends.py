"""Sends random bytes when its input ends, and compares the echo: sends.py ADDRESS PORT."""

import os
import socket
import sys
import threading

connection = socket.create_connection((sys.argv[1], int(sys.argv[2])))
data, got = os.urandom(3_000_000), bytearray()
connection.sendall(data[:1])
got += connection.recv(1)
print("connected", flush=True)
sys.stdin.read()
sender = threading.Thread(target=lambda: (connection.sendall(data[1:]), connection.shutdown(socket.SHUT_WR)))
sender.start()
while piece := connection.recv(65536):
    got += piece
sender.join()
assert got == data
