"""One end of a connection that waits in a receive, or for its input: waits.py ADDRESS PORT [idle]."""

import errno
import socket
import sys

ip, port = sys.argv[1], int(sys.argv[2])
if port:
    sock = socket.create_connection((ip, port))
else:
    listener = socket.create_server((ip, 0))
    print(listener.getsockname()[1], flush=True)
    sock = listener.accept()[0]
sock.sendall(b"x")
print(sock.recv(1) == b"x", flush=True)
if len(sys.argv) > 3:
    input()
try:
    print(len(sock.recv(1)), flush=True)
except OSError as error:
    print(errno.errorcode[error.errno], flush=True)
