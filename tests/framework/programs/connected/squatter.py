"""Takes an abstract name as another user, and prints how much each client says: squatter.py NAME UID."""

import os
import socket
import sys

os.setgroups([]), os.setgid(int(sys.argv[2])), os.setuid(int(sys.argv[2]))
name = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
name.bind("\0" + sys.argv[1])
name.listen()
print("ready", flush=True)
while True:
    client, _ = name.accept()
    print(len(client.recv(4096)), flush=True)
