"""The partition daemon: one namespace's TAP, its links and its loop; small, unprivileged, and it outlives the host.

The main thread talks with the hosting daemon and the second runs the loop. When the hosting daemon goes away,
direct links go on; this daemon registers again as soon as there is a new one, and brings its TAP, its counters
and its open links along.
"""

from __future__ import annotations

import logging
import os
import resource
import select
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from vnicd import __version__
from vnicd.config import Options, Paths, wanted_log_level
from vnicd.errors import NotPermitted
from vnicd.link.endpoint import Endpoint
from vnicd.native import counters, directory
from vnicd.native.loop import Loop
from vnicd.native.memory import Refused, Region
from vnicd.process import logs, privileges, trace
from vnicd.process.systemd_notify import Notifier
from vnicd.protocol import registration
from vnicd.protocol.registration import Message

log = logging.getLogger(__name__)

RECONNECT = 0.1
"""Seconds between two attempts to find the hosting daemon."""

REGISTER_TIMEOUT_S = 10.0
"""Seconds that a new daemon, which has no TAP yet, tries to register."""

HINT_RECORD_S = 60.0
"""Seconds between two records of the same hint about the same port: where nobody heeds it, it comes again and again."""

REPEAT = 5.0
"""Seconds before an idle link is reported again that the hosting daemon has not taken back."""

TRIM_IDLE = 2.0
"""Seconds without a frame after which a link is given up for another."""

HINTS = ("want", "idle")
"""Messages that come again by themselves, so that they need not be kept for a hosting daemon that does not read."""

MOST_UNSENT = 1024
"""Other messages kept for it: at most a few for each link. With more, the connection ends."""

TICK = 0.005
"""Seconds between two attempts to open a link whose mark found no room."""


class Partition:
    def __init__(self, name: str, paths: Paths) -> None:
        self.name = name
        self.paths = paths
        self.host: socket.socket | None = None
        self.port = -1
        self.generation = 0
        self.tap = -1
        self.counters: Region | None = None
        self.loop: Loop | None = None
        self.endpoint: Endpoint | None = None
        self.idle_timeout = 60.0
        self.idle_until: dict[tuple[int, int], float] = {}
        """{(peer, link id): when it may be reported as idle again} of those that were."""
        self.hinted_at: dict[tuple[str, int], float] = {}
        """{(hint, port): when it was last recorded, on the monotonic clock}."""
        self.unsent: deque[tuple[Message, list[int]]] = deque()
        self.serving = False
        """Whether the loop reads the TAP."""
        self.stopping = False
        self.connect_at = 0.0
        """When to look for the hosting daemon, on the monotonic clock."""
        self.thread: threading.Thread | None = None
        self.notify = Notifier()
        self.sign_at = time.monotonic()
        """When systemd expects the next sign of life, on the monotonic clock."""

    # --------------------------------------------------------------------------------------- life

    def run(self) -> int:
        """Serve until told to stop; the exit code."""
        resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
        wake, wake_writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(wake_writer, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        deadline = time.monotonic() + REGISTER_TIMEOUT_S
        while not self.stopping:
            if self.tap < 0 and time.monotonic() > deadline:
                log.error("no hosting daemon takes it in")
                return 3
            if self.tap < 0 and not os.access(".", os.X_OK):
                return _refused_entry(self.paths)
            due = self.host is None and time.monotonic() >= self.connect_at
            if due and not self._connect() and self._fabric_is_gone():
                return 0  # the fabric was taken down while nobody told us
            self._wait(wake)
        self.notify.stopping()
        if self.loop is not None and self.thread is not None:
            self.loop.stop()
            self.thread.join()
        trace.note("ended")
        return 0

    def _on_signal(self, number: int, frame: object) -> None:
        trace.note("signal", number)
        self.stopping = True

    def _wait(self, wake: int) -> None:
        """Wait for the host, the loop or a signal, and serve it."""
        poller = select.poll()
        poller.register(wake, select.POLLIN)
        if self.host is not None:
            poller.register(self.host, select.POLLIN | (select.POLLOUT if self.unsent else 0))
        if self.loop is not None:
            poller.register(self.loop.event_fd, select.POLLIN)
        ready = dict(poller.poll(self._timeout() * 1000))
        if self.loop is not None and self.loop.event_fd in ready:
            self._serve_loop()
        events = ready.get(self.host.fileno(), 0) if self.host is not None else 0
        if events & select.POLLOUT:
            self._send_unsent()
        if events & ~select.POLLOUT and self.host is not None:
            self._serve_host()
        if self.endpoint is not None:
            self.endpoint.tick()
            self._report_idle()
        self._give_sign()

    def _give_sign(self) -> None:
        """Tell systemd that the datapath goes on, if it does; else it will end us and start us anew."""
        if self.notify.watchdog and time.monotonic() >= self.sign_at:
            self.sign_at = time.monotonic() + self.notify.watchdog
            if self.loop is None or self.loop.is_moving():
                self.notify.alive()
            else:
                trace.note("no_progress")

    def _timeout(self) -> float:
        """Seconds until there is something to do, a sign of life included."""
        return min(self._next_work(), self.notify.watchdog or 1e6)

    def _next_work(self) -> float:
        """Seconds until there is something to do without being told; endless for a fabric at rest."""
        if self.host is None:
            return RECONNECT
        if self.endpoint is None:
            return 1e6
        if self.endpoint.opening:
            return TICK
        return max(0.05, min((due for _, due in self._idle_links()), default=1e6))

    # -------------------------------------------------------------------------------- hosting daemon

    def _connect(self) -> bool:
        """Register at the hosting daemon; False when there is none."""
        self.connect_at = time.monotonic() + RECONNECT
        sock = self._connected(self.paths.registration.name) or self._connected(str(self.paths.registration))
        if sock is None:
            return False
        sock.setblocking(False)
        trace.note("connected")
        self.host = sock
        self.idle_until.clear()
        hello: Message = {"op": "hello", "name": self.name, "port": self.port, "generation": self.generation}
        hello["links"] = self.endpoint.open_links() if self.endpoint else []
        fds = [self.tap, self.counters.fd] if self.tap >= 0 and self.counters else []
        self._reply(hello, fds)
        return True

    def _connected(self, path: str) -> socket.socket | None:
        """A socket that is connected to `path`.

        We are in the runtime directory; whether an absolute path still leads there is not for us to say.
        """
        try:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        except OSError:
            return None  # there is no descriptor for it: another attempt may find one
        try:
            sock.connect(path)
        except OSError:
            sock.close()
            return None
        return sock

    def _fabric_is_gone(self) -> bool:
        """Whether the runtime directory was removed, as `down` does."""
        try:
            return Path().stat().st_nlink == 0 and not self.paths.root.exists()
        except PermissionError:
            return True

    def _reply(self, message: Message, fds: Sequence[int]) -> None:
        """Send to the hosting daemon, now or when it reads again: it may be stopped, and we go on."""
        if self.host is None:
            return
        self._note_report(message)
        if not self.unsent:
            try:
                registration.send(self.host, message, fds)
                return
            except BlockingIOError:
                pass
            except OSError:
                self._lose_host()
                return
        try:
            self.unsent.append((message, [os.dup(fd) for fd in fds]))
        except OSError as error:
            if message["op"] != "made":
                self._lose_host()
                return
            self.unsent.append(({**message, "error": error.strerror}, []))
        if self.unsent and self.unsent[-1][0]["op"] in HINTS:
            self.unsent.pop()
        if len(self.unsent) > MOST_UNSENT:
            self._lose_host()

    def _note_report(self, message: Message) -> None:
        op, now = message["op"], time.monotonic()
        if op not in HINTS:
            reason = message.get("error") or message.get("reason") or ""
            trace.note("report", *trace.numbers(message, "link_id", "peer"), text=f"{op} {reason}".rstrip())
            return
        for peer in message["ports"] if op == "want" else [peer for peer, _ in message["links"]]:
            if now - self.hinted_at.get((op, peer), -HINT_RECORD_S) >= HINT_RECORD_S:
                self.hinted_at[op, peer] = now
                trace.note("hint", peer, text=op)

    def _send_unsent(self) -> None:
        while self.unsent and self.host is not None:
            message, fds = self.unsent[0]
            try:
                registration.send(self.host, message, fds)
            except BlockingIOError:
                return
            except OSError:
                self._lose_host()
                return
            registration.close_all(fds)
            self.unsent.popleft()

    def _lose_host(self) -> None:
        for _, fds in self.unsent:
            registration.close_all(fds)
        self.unsent.clear()
        if self.host is not None:
            trace.note("host_lost")
            self.host.close()
            self.host = None
            if self.endpoint is not None:
                self.endpoint.host_lost()

    def _serve_host(self) -> None:
        assert self.host is not None
        try:
            got = registration.receive(self.host)
        except BlockingIOError:
            return
        except registration.DescriptorsLost as error:
            got = (error.message, []) if error.message["op"] != "welcome" else None
        except (OSError, ValueError):
            got = None
        if got is None:
            self._lose_host()
            return
        message, fds = got
        if message["op"] != "welcome":
            trace.note("order", *trace.numbers(message, "link_id", "peer"), text=message["op"])
        if message["op"] == "welcome":
            self._welcome(message, fds)
        elif message["op"] == "stop":
            registration.close_all(fds)
            self.stopping = True
        elif message["op"] == "log":
            for fd in fds[:1]:
                logs.take_over(fd)
            registration.close_all(fds)
        elif message["op"] == "trim":
            registration.close_all(fds)
            self._give_up_a_link()
        elif self.endpoint is None or not self.endpoint.handle(message, fds):
            registration.close_all(fds)
        elif message["op"] == "open" and not self.serving and self.loop is not None:
            self.loop.set_tap(self.tap)  # not before there is a way out for what the partition says first
            self.serving = True
            self.notify.ready(f"serving port {self.port}")

    def _welcome(self, message: Message, fds: list[int]) -> None:
        """The host has taken us in: the directory, and at the first time the TAP and the counters."""
        self.port, self.generation = message["port"], message["generation"]
        self.idle_timeout = message["options"]["idle_timeout"]
        logs.set_level(logs.known_level(message["options"].get("log_level", ""), Options.log_level))
        trace.note("registered", self.port, self.generation)
        if self.loop is None:
            self.tap = fds[1]
            self.counters = counters.open_shared(fds[2], writable=True)
            if len(fds) > 3:
                self._use_trace(fds[3])
            poll_us = message["options"]["poll_us"]
            self.loop = Loop(self.port, self.counters, poll_us=poll_us, ring=trace.ring())
            self.endpoint = Endpoint(self.port, self.loop, message["options"]["hugepages"], self._reply)
            self.loop.set_directory(directory.open_shared(fds[0]))
            self.thread = threading.Thread(target=self.loop.run, name="loop", daemon=True)
            self.thread.start()
        else:
            self.loop.set_directory(directory.open_shared(fds[0]))

    def _use_trace(self, fd: int) -> None:
        try:
            trace.use(fd)
        except (OSError, Refused) as error:
            log.warning("the daemon goes on without a trace: %s", error)

    # ------------------------------------------------------------------------------------------ loop

    def _serve_loop(self) -> None:
        assert self.loop is not None
        wanted, gone, tap_gone = self.loop.take_events()
        for peer, reason in gone.items():
            self._reply(
                {"op": "gone", "peer": peer, "link_id": self.loop.link_id(peer), "reason": reason}, ()
            )
            self.loop.detach(peer)
        fast = [(peer, self.loop.link_id(peer)) for peer in self.loop.take_fast()]
        if fast and self.endpoint is not None and self.endpoint.hugepages == "auto":
            self._reply({"op": "fast", "links": fast}, ())
        if wanted:
            self._reply({"op": "want", "ports": wanted}, ())
        if tap_gone:
            self._reply({"op": "tap_gone"}, ())

    def _idle_links(self) -> list[tuple[tuple[int, int], float]]:
        """Each direct link, as (peer, link id), and the seconds until it is to be reported as idle."""
        assert self.endpoint is not None
        loop, now = self.endpoint.loop, time.monotonic()
        links = [((peer, loop.link_id(peer)), ns / 1e9) for peer, ns in loop.idle_ns().items() if peer]
        self.idle_until = {link: self.idle_until[link] for link, _ in links if link in self.idle_until}
        return [
            (link, max(self.idle_timeout - quiet, self.idle_until.get(link, 0.0) - now))
            for link, quiet in links
        ]

    def _give_up_a_link(self) -> None:
        """Report the link that has been quiet for longest, if it was for TRIM_IDLE seconds: others want one."""
        if self.loop is None:
            return
        loop = self.loop
        quiet = {peer: ns / 1e9 for peer, ns in loop.idle_ns().items() if peer and loop.is_open(peer)}
        longest = max(quiet, key=quiet.__getitem__, default=0)
        if longest and quiet[longest] >= TRIM_IDLE:
            self._reply({"op": "idle", "links": [(longest, loop.link_id(longest))]}, ())

    def _report_idle(self) -> None:
        quiet = [link for link, due in self._idle_links() if due <= 0]
        if quiet and self.host is not None:
            self._reply({"op": "idle", "links": quiet}, ())
            self.idle_until.update(dict.fromkeys(quiet, time.monotonic() + REPEAT))


def _refused_entry(paths: Paths) -> int:
    """Say that we can't work in a runtime directory with this mode; the exit code."""
    text = "the runtime directory %s can't be entered by user %d; allow it: chmod o+x %s"
    log.error(text, paths.root, os.geteuid(), paths.root)
    return NotPermitted.exit_code


def main(name: str) -> int:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # it is handed its log, also a new one
    level = logs.known_level(wanted_log_level(), Options.log_level)
    logs.begin(level, {}, small=True)
    trace.note("started", text=__version__)
    paths = Paths.from_environment()
    try:
        try:
            os.chdir(paths.root)  # while we still may, wherever it lies
        except PermissionError:
            return _refused_entry(paths)
        privileges.drop()
        return Partition(name, paths).run()
    except OSError as error:
        log.error("%s", error)
        return 1
    except Refused as error:
        log.error("the hosting daemon sent bad memory: %s", error)
        return 1
