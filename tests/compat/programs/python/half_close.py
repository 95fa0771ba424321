"""Asks an HTTP server and shuts its own direction at once: `half_close.py HOST PORT COUNT PATH SIZE`."""

import socket
import sys

host, port, count, path, size = sys.argv[1:]
right, wrong = 0, ""
for _ in range(int(count)):
    with socket.create_connection((host, int(port)), timeout=5) as sock:
        sock.sendall(f"GET {path} HTTP/1.0\r\nHost: compat\r\n\r\n".encode())
        sock.shutdown(socket.SHUT_WR)
        answer = b""
        try:
            while piece := sock.recv(65536):
                answer += piece
        except OSError as error:
            wrong = wrong or f"{type(error).__name__} after {len(answer)} bytes"
    head, _, body = answer.partition(b"\r\n\r\n")
    if b" 200 " in head[:20] and len(body) == int(size):
        right += 1
    else:
        wrong = wrong or f"{len(answer)} bytes came: {answer[:60]!r}"
print(f"{right} of {count} right {wrong}")
sys.exit(right != int(count))
