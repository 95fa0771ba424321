"""The names helper: tells programs in partitions each other's addresses. Unprivileged; ends with the hosting daemon.

The hosting daemon starts it with a connection as standard input, and sends one JSON object a packet; nothing is sent
back. The end of the connection is the end of the helper.

    op                                                   descriptors
      serve     id                                       UDP socket, TCP listener of a namespace
      stop      id                                       -
      name      name, addresses (null: it is no more)    -
      forward   on                                       -
      log       level                                    its log, if that is a file and another one
      ping                                               -

The hosting daemon looks whether its packets are read. A ping is for that alone.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import socket
import sys
from typing import Any

from vnicd.config import Options
from vnicd.names.forwarder import Forwarder, share
from vnicd.names.resolvers import Resolvers
from vnicd.names.server import NamespaceServer
from vnicd.names.zone import Zone
from vnicd.native import hardening
from vnicd.process import logs, privileges
from vnicd.process.systemd_notify import Notifier
from vnicd.protocol import registration

log = logging.getLogger(__name__)


class Helper:
    def __init__(self, host: socket.socket) -> None:
        self.host = host
        self.zone = Zone()
        self.forwarder = Forwarder(Resolvers())
        self.servers: dict[int, NamespaceServer] = {}
        self.forwarding = False
        self.done = asyncio.Event()
        self.notify = Notifier()

    async def run(self) -> None:
        """Serve until the hosting daemon is gone."""
        asyncio.get_running_loop().add_reader(self.host, self._read)
        self.notify.ready("serving")
        self._give_sign()
        await self.done.wait()

    def _give_sign(self) -> None:
        if self.notify.watchdog:
            self.notify.alive()
            asyncio.get_running_loop().call_later(self.notify.watchdog, self._give_sign)

    def _read(self) -> None:
        try:
            got = registration.receive(self.host)
        except BlockingIOError:
            return
        except OSError:
            got = None
        if got is None:
            asyncio.get_running_loop().remove_reader(self.host)
            self.done.set()
            return
        self._obey(*got)
        logs.look()

    def _obey(self, message: dict[str, Any], fds: list[int]) -> None:
        op = message["op"]
        if op == "serve":
            udp, tcp = (socket.socket(fileno=fd) for fd in fds)
            self.servers[message["id"]] = NamespaceServer(
                udp,
                tcp,
                self.zone,
                self.forwarder,
                share=lambda: share(len(self.servers)),
                is_forwarding=lambda: self.forwarding,
            )
        elif op == "stop":
            server = self.servers.pop(message["id"], None)
            if server is not None:
                server.close()
        elif op == "name" and message["addresses"] is not None:
            self.zone.put(message["name"], message["addresses"])
        elif op == "name":
            self.zone.remove(message["name"])
        elif op == "forward":
            self.forwarding = message["on"]
        elif op == "log":
            logs.set_level(logs.known_level(message["level"], Options.log_level))
            for fd in fds:
                logs.take_over(fd)
                os.close(fd)


def _complain(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What went wrong in an answer to somebody; the log is shared with others."""
    log.error("the names helper: %r", context.get("exception") or context.get("message"))


async def _run(host: socket.socket) -> None:
    asyncio.get_running_loop().set_exception_handler(_complain)
    await Helper(host).run()


def main() -> int:
    """Serve the hosting daemon at standard input; the exit code."""
    try:
        host = socket.socket(fileno=os.dup(0))
        host.getpeername()
    except OSError:
        print("vnicd names: the hosting daemon starts this, with itself as standard input", file=sys.stderr)
        return 2
    logs.begin(Options.log_level, {}, small=True)
    parent = os.getppid()
    os.chdir("/")
    privileges.drop(privileges.NOBODY)
    if parent != 1:  # not systemd, which would go on
        hardening.die_with_parent()
        if os.getppid() != parent:
            return 0
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    host.setblocking(False)
    try:
        asyncio.run(_run(host))
    finally:
        logs.end()
    return 0
