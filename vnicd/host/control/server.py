"""The control server: takes clients in as long as there is a place, and answers their requests by `methods`."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from contextlib import suppress
from typing import Any

from vnicd.errors import EXHAUSTED, NotPermitted, NotRunning, Resources, VnicdError
from vnicd.host.control import access
from vnicd.host.control.access import ROOT, Rule
from vnicd.host.control.audit import Asker, Audit, asker
from vnicd.host.control.session import Session
from vnicd.kernel.limits.descriptors import MORE_FILES
from vnicd.process import trace, unix_sockets
from vnicd.protocol import control
from vnicd.protocol.control import MAX_REQUEST

log = logging.getLogger(__name__)

CLIENT_IDLE_TIMEOUT_S = 30.0
"""Seconds that a client has to say something, and to take an answer."""

SILENT_CLIENT_S = 2.0
"""Seconds that a silent client keeps its place when another user needs it."""

MAX_CLIENTS = 512
"""Clients of root, and once more of all others together: root always finds a place."""

MAX_OF_OWNER = 128
"""Clients of one owner; see there."""

MAX_UNTAKEN = 8 << 20
"""Bytes of answers that the clients of one owner who is not root may leave waiting."""

BACKLOG = 1024
ACCEPT_AT_ONCE = 32
"""New clients that are taken in before the others have their turn."""

ACCEPT_PAUSE_S = 0.1
"""Seconds without new clients after one could not be taken in, as when there are no descriptors left."""

Method = Callable[[dict[str, Any]], Awaitable[Any]]
Request = tuple[int, str, dict[str, Any]]
OwnerId = tuple[int, int]
"""User and process; the process is 0 for all who are not root, and can have as many as they like."""


class Owner:
    """The clients of one user, or of one process of root's, and what they wait for: one answer after the other."""

    def __init__(self) -> None:
        self.sessions: set[Session] = set()
        self.queue: deque[tuple[Session, Request | None]] = deque()


class Server:
    """Serves `methods` by name, as `rules` say to whom."""

    def __init__(self, methods: dict[str, Method], rules: Mapping[str, Rule] = access.RULES) -> None:
        self.methods = methods
        self.rules = rules
        self.listener: socket.socket | None = None
        self.owners: dict[OwnerId, Owner] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        self.sweeping: asyncio.TimerHandle | None = None
        self.audit = Audit()

    @property
    def clients(self) -> int:
        return len(self._sessions())

    async def listen(self, where: str | socket.socket) -> None:
        """Take clients in from now on: at a path where nothing is yet, or at a socket that listens already.

        Instead of where we listened before; the clients that are there stay.
        """
        self._stop_listening()
        if isinstance(where, str):
            listener = socket.socket(socket.AF_UNIX)
            try:
                listener.bind(where)
                listener.listen(BACKLOG)
            except OSError:
                listener.close()
                raise
        else:
            listener = where
        listener.setblocking(False)
        unix_sockets.refuse_descriptors(listener)
        self.listener = listener
        self._wait_for_clients(listener)

    def close(self) -> None:
        """Take no more requests; who has asked something gets its answer while the event loop still runs."""
        self._stop_listening()
        for session in self._sessions():
            session.finish()

    # -------------------------------------------------------------------------------------- clients

    def _stop_listening(self) -> None:
        if self.listener is not None:
            asyncio.get_running_loop().remove_reader(self.listener)
            self.listener.close()
            self.listener = None

    def _wait_for_clients(self, listener: socket.socket) -> None:
        if listener is self.listener:
            asyncio.get_running_loop().add_reader(listener, self._accept, listener)

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(ACCEPT_AT_ONCE):
            try:
                sock, _ = listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._rest(listener, error)
                return
            self._take_in(sock)

    def _rest(self, listener: socket.socket, error: OSError) -> None:
        """It stays readable, and to try again at once would be all that we do."""
        loop = asyncio.get_running_loop()
        loop.call_exception_handler({"message": "a client can't be taken in", "exception": error})
        loop.remove_reader(listener)
        loop.call_later(ACCEPT_PAUSE_S, self._wait_for_clients, listener)

    def _take_in(self, sock: socket.socket) -> None:
        try:
            uid, pid = unix_sockets.peer(sock)
            owner = uid, pid if uid == ROOT else 0
            if not self._has_place(owner):
                error = Resources("the hosting daemon has too many clients already", "try again")
                sock.setblocking(False)
                sock.send(control.failure(0, error))
                sock.close()
                return
        except OSError:
            sock.close()
            return
        limit = access.longest_request(uid)
        session = Session(sock, owner, limit, self._request, self._too_long, self._end)
        session.pid = pid
        self.owners.setdefault(owner, Owner()).sessions.add(session)
        if self.sweeping is None:
            self._sweep()

    def _has_place(self, owner: OwnerId) -> bool:
        """Whether there is room for one more client of this owner; the longest silent one may have to go for it.

        To go for one's own, or for root, is right at once; but no user loses a place to strangers before he could
        speak.
        """
        own = self.owners.get(owner)
        if own and len(own.sessions) >= MAX_OF_OWNER:
            return self._send_away(own.sessions) or self._send_greediest_away(own)
        is_root = owner[0] == ROOT
        peers = [session for session in self._sessions() if (session.uid == ROOT) == is_root]
        return len(peers) < MAX_CLIENTS or self._send_away(peers, 0.0 if is_root else SILENT_CLIENT_S)

    def _sessions(self) -> list[Session]:
        return [session for owner in self.owners.values() for session in owner.sessions]

    def _send_away(self, sessions: Collection[Session], grace: float = 0.0) -> bool:
        """Close the one of these that is silent for longest; False when there is none."""
        before = asyncio.get_running_loop().time() - grace
        silent = [session for session in sessions if session.silent and session.since <= before]
        if silent:
            min(silent, key=lambda session: session.since).close()
        return bool(silent)

    def _send_greediest_away(self, owner: Owner) -> bool:
        """Close the one that waits for another answer and had the most already; False when none had any."""
        waiting = [session for session, _ in owner.queue if session.answered and not session.closed]
        if waiting:
            max(waiting, key=lambda session: session.answered).close()
        return bool(waiting)

    def _sweep(self) -> None:
        """Close clients that are silent for too long, from time to time while there are any."""
        loop = asyncio.get_running_loop()
        before = loop.time() - CLIENT_IDLE_TIMEOUT_S
        for session in self._sessions():
            if session.silent and session.since <= before:
                session.close()
        self.sweeping = loop.call_later(CLIENT_IDLE_TIMEOUT_S / 8, self._sweep) if self.owners else None

    def _end(self, session: Session) -> None:
        owner = self.owners[session.owner]
        owner.sessions.discard(session)
        if not owner.sessions:
            del self.owners[session.owner]

    # ------------------------------------------------------------------------------------- requests

    def _too_long(self, session: Session) -> None:
        error = VnicdError(f"a request has at most {session.limit} bytes")
        if session.limit < MAX_REQUEST:
            error = NotPermitted(f"only root can send more than {session.limit} bytes", "run it with sudo")
        session.answer(control.failure(0, error))

    def _request(self, session: Session, line: bytes) -> None:
        """Begin at once with what root wants changed, which may take long; all else is answered in turn.

        That is one request of each owner while the event loop goes round, so that many of one hold up no other.
        """
        request: Request | None = None
        with suppress(ValueError, RecursionError):
            request = control.parse_request(line)
        if request is not None and session.uid == ROOT and self._is_change(request[1]):
            self._start(self._serve(session, request))
            return
        owner = self.owners[session.owner]
        owner.queue.append((session, request))
        if len(owner.queue) == 1:
            self._start(self._serve_in_turn(owner))

    def _is_change(self, name: str) -> bool:
        return name in self.methods and bool(self.rules.get(name, access.UNKNOWN).change)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _serve_in_turn(self, owner: Owner) -> None:
        while owner.queue:
            session, request = owner.queue[0]
            await self._serve(session, request)
            untaken = sum(len(each.outbox) for each in owner.sessions)
            if session.uid != ROOT and untaken > MAX_UNTAKEN:
                self._send_away([each for each in owner.sessions if each.outbox])
            await asyncio.sleep(0)
            owner.queue.popleft()

    async def _serve(self, session: Session, request: Request | None) -> None:
        if not session.closed:
            session.answer(await self._answer(session, request))

    async def _answer(self, session: Session, request: Request | None) -> bytes:
        if request is None:
            return control.failure(0, VnicdError("this is not a request"))
        ident, name, params = request
        try:
            return control.result(ident, await self._call(session, name, params))
        except VnicdError as error:
            return control.failure(ident, error)

    async def _call(self, session: Session, name: str, params: dict[str, Any]) -> Any:
        """The result of a method; all that goes wrong is a VnicdError. A change leaves a line in the log."""
        uid = session.uid
        who = asker(uid, session.pid) if uid == ROOT and self._is_told(name, params) else None
        try:
            method = self.methods.get(name)
            if method is None:
                raise VnicdError(f"there is no method {name[:64]}")
            access.check(uid, name, params, self.rules)
            if self._is_change(name):
                trace.note("request", text=f"{name} {params.get('name', '')}".rstrip())
            result = await _guarded(method(params))
        except VnicdError as error:
            if uid != ROOT:  # others can ask as often as they like
                if self._is_change(name) and isinstance(error, NotPermitted):
                    self.audit.refuse(uid, session.pid, name, error)
            elif self._is_change(name):
                trace.note("refused", text=f"{name}: {error.line()}")
                self._tell_failure(who, name, params, error)
            raise
        except asyncio.CancelledError:
            self._tell_failure(who, name, params, NotRunning("the hosting daemon has ended meanwhile"))
            raise
        if who is not None:
            self.audit.done(who, name, params, result)
        return result

    def _is_told(self, name: str, params: dict[str, Any]) -> bool:
        """Whether a request leaves a line in the log: it changes something, and is not only a rehearsal."""
        reads = self.rules.get(name, access.UNKNOWN).reads or params.get("dry_run") is True
        return self._is_change(name) and not reads

    def _tell_failure(self, who: Asker | None, name: str, params: dict[str, Any], error: VnicdError) -> None:
        if who is not None:
            self.audit.failed(who, name, params, error)


async def _guarded(work: Awaitable[Any]) -> Any:
    """The outcome of a method, with every other error as a VnicdError."""
    try:
        return await work
    except VnicdError:
        raise
    except Exception as error:
        if lack := _lack(error):  # it is no fault of ours, so where it was noticed helps nobody
            raise Resources(f"the hosting daemon can't do it: {lack[0]}", lack[1]) from error
        log.exception("a request failed")
        if isinstance(error, OSError):
            raise VnicdError(f"the hosting daemon can't do it: {_reason(error)}") from error
        raise VnicdError(f"internal error: {error!r}", "see the hosting daemon's log") from error


def _lack(error: Exception) -> tuple[str, str] | None:
    """What there is too little of, and what to do, when it is that by which something has failed."""
    if isinstance(error, OSError) and error.errno in EXHAUSTED:
        return _reason(error), MORE_FILES if error.errno == errno.EMFILE else ""
    if isinstance(error, MemoryError):
        return "out of memory", ""
    if isinstance(error, RuntimeError) and "start new thread" in str(error):
        return "no thread can be started", "there is too little memory, or there are too many processes"
    return None


def _reason(error: OSError) -> str:
    reason = error.strerror or str(error)
    return reason if error.filename is None else f"{error.filename}: {reason}"
