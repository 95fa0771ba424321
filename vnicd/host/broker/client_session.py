"""One program's connection to the broker: reads its requests, and does not block."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from vnicd.process.fd_reaper import FdReaper
from vnicd.protocol.registration import received_fds
from vnicd.sockets.abi import REQUEST, Reply

if TYPE_CHECKING:
    from vnicd.host.broker.namespace import BrokerNamespace

ROOM = socket.CMSG_SPACE(253 * 4)
"""For as many descriptors as a message can have: what there is no room for, the kernel would close at once."""


SEND_BUFFER = 4096
"""Bytes of answers, with the kernel's own, that wait to be read: some, as nobody asks before the last one has come."""


class ClientSession:
    """`on_request(session, data, fds)` is True unless the session is to end; descriptors left in `fds` are thrown away.

    `on_end(session)` is called once.
    """

    def __init__(
        self,
        sock: socket.socket,
        namespace: BrokerNamespace,
        on_request: Callable[[ClientSession, bytes, list[int]], bool],
        on_end: Callable[[ClientSession], None],
    ) -> None:
        self.sock = sock
        self.namespace = namespace
        self.on_request, self.on_end = on_request, on_end
        self.is_waiting = False
        """It has asked what takes its time, and asks nothing else before that is answered."""
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        namespace.crowd.add(sock.fileno(), self._readable)

    @property
    def reaper(self) -> FdReaper:
        return self.namespace.reaper

    def answer(self, reply: Reply, fds: Sequence[int] = ()) -> bool:
        """False when it does not take it: who never reads has no place here."""
        try:
            socket.send_fds(self.sock, [reply.pack()], list(fds), socket.MSG_NOSIGNAL)
        except OSError:
            return False
        return True

    def close(self) -> None:
        """End the connection; twice is once."""
        if self.sock.fileno() < 0:
            return
        self.namespace.crowd.remove(self.sock.fileno())
        self.reaper.put([self.sock.detach()])  # what we have not read may have descriptors with it
        self.on_end(self)

    def _readable(self) -> None:
        """One request; a program waits for the answer before it asks again, and others have their turn."""
        try:
            data, ancillary, _, _ = self.sock.recvmsg(REQUEST.size + 1, ROOM, socket.MSG_CMSG_CLOEXEC)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.close()
            return
        fds = received_fds(ancillary)
        stays = bool(data) and self.on_request(self, data, fds)
        self.reaper.put(fds)
        if not stays:
            self.close()
