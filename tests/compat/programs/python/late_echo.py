"""Answers lines "MILLISECONDS TEXT" with the text, so many milliseconds later: `late_echo.py HOST PORT`."""

import socketserver
import sys
from threading import Event


class Answer(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        for line in self.rfile:
            milliseconds, _, text = line.partition(b" ")
            Event().wait(int(milliseconds) / 1000)
            self.wfile.write(text)


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


with Server((sys.argv[1], int(sys.argv[2])), Answer) as server:
    server.serve_forever()
