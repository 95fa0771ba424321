"""Keeps a connection: `hold.py HOST PORT QUESTION COUNT [tls]` asks, says "held" after COUNT bytes, waits."""

import socket
import ssl
import sys

host, port, question, count, *tls = sys.argv[1:]


def connected() -> socket.socket:
    sock = socket.create_connection((host, int(port)), timeout=10)
    if not tls:
        return sock
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(sock)


with connected() as sock:
    sock.settimeout(None)
    sock.sendall(question.encode().decode("unicode_escape").encode("latin-1"))
    got = 0
    while got < int(count):
        piece = sock.recv(65536)
        assert piece, f"the server ended the connection after {got} bytes"
        got += len(piece)
    print("held", flush=True)
    try:
        while sock.recv(65536):
            pass
    except ConnectionError:
        pass
print("ended", flush=True)
