"""Connects without waiting, and stays: decides.py PORT ADDRESS."""

import socket
import sys

sock = socket.socket()
sock.setblocking(False)
sock.connect_ex((sys.argv[2], int(sys.argv[1])))
print("ready", flush=True)
sys.stdin.read()
