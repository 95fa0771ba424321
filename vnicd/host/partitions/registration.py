"""Where partition daemons register: checks who they are, and hands them their TAP, counters and the directory.

After an upgrade the partition daemons of the old version register at a hosting daemon of the new one. As long as the
shared memory has the same layout (VN_VERSION; counters may have been added) they go on without a frame lost; else
they are started anew, which costs what the death of a daemon costs.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket

from vnicd.config import Options, Paths
from vnicd.host.links.relay import HostRelay
from vnicd.host.partitions.reconciler import Reconciler
from vnicd.host.partitions.supervisor import Supervisor
from vnicd.host.ports.allowance import Allowance
from vnicd.host.ports.channel import Channel
from vnicd.host.ports.complaints import NOBODY, Complaints, quoted
from vnicd.host.ports.port import Port, Ports
from vnicd.kernel import netns, tap
from vnicd.native import counters
from vnicd.native.memory import Refused
from vnicd.process import privileges, trace, trace_files, unix_sockets
from vnicd.protocol import registration
from vnicd.protocol.registration import Message

log = logging.getLogger(__name__)


HELLO_S = 2.0
"""Seconds that a partition daemon has to say who it is."""

REST_S = 0.5
"""Seconds without taking anybody in, when that has failed."""

STRANGERS_MOST = 32
"""Processes at once that are nobody's daemon and have time to read so; members of our group, so they may connect."""

STRANGERS_REST_S = 0.02
"""Seconds without taking anybody in after strangers alone have come; a daemon waits behind 256 connections at most."""

ACCEPT_AT_ONCE = 16

GENERATIONS = 1 << 31
"""Generations are 32-bit numbers in the directory; a daemon that names another is not to be believed."""


class Registrar:
    def __init__(
        self,
        paths: Paths,
        options: Options,
        ports: Ports,
        relay: HostRelay,
        supervisor: Supervisor,
        reconciler: Reconciler,
    ) -> None:
        self.paths = paths
        self.options = options
        self.ports = ports
        self.relay = relay
        self.supervisor = supervisor
        self.reconciler = reconciler
        self.listener: socket.socket | None = None
        self.channels: set[Channel] = set()
        self.complaints = Complaints(log)
        self.traces = trace_files.folder(paths.root)
        self.expected: dict[Channel, asyncio.TimerHandle] = {}
        """When each of the channels has to have said who it is."""
        self.registered: dict[int, tuple[int, int]] = {}
        """{port: pid and start time} of the daemons that have registered: none is new because it connects again."""

    def listen(self) -> None:
        """Take partition daemons in from now on; again when the socket was deleted."""
        self._close_listener()
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.paths.registration.unlink(missing_ok=True)
        self.listener.bind(str(self.paths.registration))
        os.chown(self.paths.registration, 0, privileges.identity()[1])  # partition daemons are not root
        self.paths.registration.chmod(0o660)
        self.listener.listen(256)
        self.listener.setblocking(False)
        self._wait_for_daemons(self.listener)

    def close(self) -> None:
        self._close_listener()
        for channel in list(self.channels):
            channel.close()

    def _close_listener(self) -> None:
        if self.listener is not None:
            asyncio.get_running_loop().remove_reader(self.listener)
            self.listener.close()
            self.listener = None

    def _wait_for_daemons(self, listener: socket.socket) -> None:
        if listener is self.listener:
            asyncio.get_running_loop().add_reader(listener, self._accept, listener)

    def _rest(self, listener: socket.socket, seconds: float = REST_S) -> None:
        """It stays readable, and to try again at once would be all that we do."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(listener)
        loop.call_later(seconds, self._wait_for_daemons, listener)

    def _accept(self, listener: socket.socket) -> None:
        strangers = 0
        for _ in range(ACCEPT_AT_ONCE):
            try:
                sock, _ = listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self.complaints.warn(NOBODY, "a partition daemon can't be taken in: %s", error.strerror)
                self._rest(listener)
                return
            if not self._take_in(sock):
                strangers += 1
        if strangers == ACCEPT_AT_ONCE:
            self._rest(listener, STRANGERS_REST_S)  # or they would be all that we do

    def _take_in(self, sock: socket.socket) -> bool:
        """Listen to a process that is a partition's daemon. Its new connection ends one that has said nothing."""
        pid, now = unix_sockets.peer(sock)[1], asyncio.get_running_loop().time()
        port = self.supervisor.owner(self.ports, pid)
        if port is None:
            channel = Channel(sock, self._message, self._end, Allowance(now))
            self.channels.add(channel)
            self._turn_away(channel)
            return False
        if port.allowance is None:
            port.allowance = Allowance(now)
        if port.allowance.is_overdrawn:
            self.complaints.warn(
                port.number, "port %d has sent what can't be closed; its daemon is ended", port.number
            )
            port.allowance.reaper.put([sock.detach()])
            self.reconciler.replace(port)
            return True
        channel = Channel(sock, self._message, self._end, port.allowance)
        for other in [other for other in self.channels if other.pid == channel.pid and other.port < 0]:
            other.close()
        self.channels.add(channel)
        self.expected[channel] = asyncio.get_running_loop().call_later(HELLO_S, self._expect_hello, channel)
        return True

    def _expect_hello(self, channel: Channel) -> None:
        self.expected.pop(channel, None)
        if channel.port < 0 and not channel.waits_for_tap:
            channel.close()

    def _message(self, channel: Channel, message: Message, fds: list[int]) -> None:
        try:
            if channel.port < 0:
                self._hello(channel, message, fds)
            elif message["op"] == "tap_gone":
                self.reconciler.lost_tap(self.ports.by_number[channel.port])
                channel.close()
            else:
                self.relay.take(channel.port, message, fds)
        except (KeyError, TypeError, ValueError, OverflowError, OSError) as error:
            said = quoted(repr(error))
            self.complaints.warn(
                channel.port, "port %d sent a message that can't be used: %s", channel.port, said
            )
            channel.close()
        finally:
            channel.discard(fds)

    def _turn_away(self, channel: Channel) -> None:
        self.complaints.warn(NOBODY, "process %d is not the daemon of a partition", channel.pid)
        channel.dismiss({"op": "stop"})
        if sum(channel.dismissed for channel in self.channels) > STRANGERS_MOST:
            channel.close()

    def _end(self, channel: Channel) -> None:
        self.channels.discard(channel)
        if channel in self.expected:
            self.expected.pop(channel).cancel()  # which would keep the channel until then
        port = self.ports.by_number.get(channel.port)
        if port is not None and port.channel is channel:
            port.channel = None

    def _hello(self, channel: Channel, message: Message, fds: list[int]) -> None:
        """Take a partition daemon in, if it is the process that serves the partition it names."""
        if channel.waits_for_tap:
            raise ValueError("it has said so already")
        port = self._named(channel, message)
        if port is None:
            self._turn_away(channel)
            return
        returning = _is_returning(fds)
        if port.pid != channel.pid:  # somebody else has started it anew, under systemd
            self.supervisor.adopt(port, channel.pid, os.pidfd_open(channel.pid))
            self.reconciler.remember()
        if port.channel is not None:
            port.channel.close()
        channel.port, port.channel = port.number, channel
        if not tap.is_alive(fds[0] if returning else port.tap):
            # deleted, or never handed over, while there was no hosting daemon
            channel.port, port.channel = -1, None
            if returning:
                self.reconciler.lost_tap(port)
            else:
                channel.waits_for_tap = True
                self.reconciler.give_tap(port, lambda: self._greet(channel, message))
            return
        if returning and not self._take_back(port, fds):
            channel.port, port.channel = -1, None
            self.reconciler.replace(port)
            return
        if returning:
            port.generation = max(port.generation, int(message["generation"]) % GENERATIONS)
        else:
            port.generation += 1
        self._welcome(channel, port, returning)
        links = self.relay.links
        links.port_up(port.number, self.registered.get(port.number) != (port.pid, port.started))
        self.registered[port.number] = port.pid, port.started
        for peer, ident in registration.some(message["links"]) if returning else ():
            if int(peer) in self.ports.by_number:  # a link to a port that is no more has lost its other end
                links.adopt(port.number, int(peer), int(ident))
        links.request(0, port.number)

    def _welcome(self, channel: Channel, port: Port, returning: bool) -> None:
        """Hand a daemon the directory and, if it is new, all else that it works on."""
        welcome = {
            "op": "welcome",
            "port": port.number,
            "generation": port.generation,
            "options": {"hugepages": self.options.hugepages, "idle_timeout": self.options.idle_timeout,
                        "poll_us": self.options.poll_us},
        }  # fmt: skip
        trace.note("daemon_registered", port.number, port.generation, port.pid, text=port.spec.name)
        handed = [self.relay.directory.region.fd]
        if returning:
            channel.send(welcome, handed)
            return
        ring = self._ring_of(port)
        channel.send(welcome, [*handed, port.tap, port.counters.fd, *ring])
        registration.close_all(ring)

    def _ring_of(self, port: Port) -> list[int]:
        """A descriptor of the ring of a port's trace, if there can be one."""
        try:
            return [trace_files.make(self.traces, port.spec.name)]
        except OSError as error:
            self.complaints.warn(port.number, "%s goes on without a trace: %s", port.spec.name, error)
            return []

    def _named(self, channel: Channel, message: Message) -> Port | None:
        """The port whose daemon this is, if it is that of the partition that it names."""
        port = self.ports.by_name.get(message["name"])
        if message["op"] != "hello" or port is None or port.removing:
            return None
        return port if self.supervisor.owns(port, channel.pid) else None

    def _greet(self, channel: Channel, message: Message) -> None:
        """The interface is there that a daemon has waited for, if it still waits."""
        channel.waits_for_tap = False
        if channel.sock.fileno() >= 0:
            self._hello(channel, message, [])

    def _take_back(self, port: Port, fds: list[int]) -> bool:
        """The TAP and the counters of a daemon that has outlived the last hosting daemon; False when they don't fit."""
        where = netns.identity(port.spec.netns_path)
        if where is not None and tap.whereabouts(fds[0]) != where:  # we would change what has its name there
            self.complaints.warn(
                port.number, "the daemon of partition %s has brought a foreign interface", port.spec.name
            )
            return False
        try:
            region = counters.open_shared(os.dup(fds[1]))
        except Refused as error:
            self.complaints.warn(
                port.number, "the daemon of partition %s is of another version: %s", port.spec.name, error
            )
            return False
        port.counters.close()
        port.counters = region
        port.close_tap()
        port.tap = fds[0]
        fds[:] = fds[1:]
        return True


def _is_returning(fds: list[int]) -> bool:
    """Whether a daemon has brought back the TAP and the counters that the last hosting daemon has handed it."""
    if len(fds) != 2:
        return False
    if not tap.is_tap(fds[0]):
        raise ValueError("it brings back what is no TAP")
    return True
