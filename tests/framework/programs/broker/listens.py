"""Listens at many ports, then at one: listens.py ADDRESS COUNT [PORT...]."""

import socket
import sys

ports = [int(text) for text in sys.argv[3:]] or [0] * int(sys.argv[2])
listeners = [socket.create_server((sys.argv[1], port)) for port in ports]
print("ready", flush=True)
sys.stdin.readline()
listeners.clear()
listeners = [socket.create_server((sys.argv[1], 0))]
sys.stdin.read()
