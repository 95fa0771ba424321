"""Where partition daemons register: checks who they are, and hands them their TAP, counters and the directory.

After an upgrade the partition daemons of the old version register at a hosting daemon of the new one. As long as the
shared memory has the same layout (VN_VERSION; counters may have been added) they go on without a frame lost; else
they are started anew, which costs what the death of a daemon costs.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from dataclasses import dataclass

from vnicd.config import Options, Paths
from vnicd.host.links.relay import HostRelay, is_lack
from vnicd.host.partitions import admission
from vnicd.host.partitions.admission import Facts, Outcome
from vnicd.host.partitions.reconciler import Reconciler
from vnicd.host.partitions.supervisor import Supervisor
from vnicd.host.ports.allowance import Allowance
from vnicd.host.ports.channel import Channel
from vnicd.host.ports.complaints import NOBODY, Complaints, quoted
from vnicd.host.ports.port import Port, Ports
from vnicd.kernel import netns, tap
from vnicd.native import counters
from vnicd.native.memory import Refused, Region
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


HeldLinks = tuple[tuple[int, int], ...]
"""(peer, link) for each link of a daemon."""


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
        allowance = port.allow(now)
        if allowance.is_overdrawn:
            self.complaints.warn(
                port.number, "port %d has sent what can't be closed; its daemon is ended", port.number
            )
            allowance.reaper.put([sock.detach()])
            self.reconciler.replace(port)
            return True
        channel = Channel(sock, self._message, self._end, allowance)
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
        except (KeyError, TypeError, ValueError, OverflowError, OSError, MemoryError) as error:
            self._tell_lack(channel, message, error)
            said = quoted(repr(error))
            self.complaints.warn(
                channel.port, "port %d sent a message that can't be used: %s", channel.port, said
            )
            channel.close()
        finally:
            channel.discard(fds)

    def _tell_lack(self, channel: Channel, message: Message, error: Exception) -> None:
        """Who waits for a daemon need not wait for one that can't be taken in."""
        name, what = message.get("name"), getattr(error, "strerror", None) or os.strerror(errno.ENOMEM)
        port = self.ports.by_name.get(name) if isinstance(name, str) else None
        is_ours = isinstance(error, MemoryError) or (isinstance(error, OSError) and is_lack(what))
        if is_ours and port is not None and self.supervisor.owns(port, channel.pid):
            self.supervisor.deaths_of(port).lacks(what)

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
        if port is not None:
            port.disconnected(channel)

    # --------------------------------------------------------------------------------------- the hello

    def _hello(self, channel: Channel, message: Message, fds: list[int]) -> None:
        """Take a partition daemon in, if it is the process that serves the partition it names.

        Until it is decided what becomes of it nothing is changed, so a hello that can't be used leaves all as it was.
        """
        if channel.waits_for_tap:
            raise ValueError("it has said so already")
        port = self._named(channel, message)
        hello = _identify(port, message, fds) if port is not None else Hello(Facts(serves=False))
        outcome = admission.decide(hello.facts)
        if port is None or outcome is Outcome.TURN_AWAY:
            self._turn_away(channel)
            return
        self._recognize(port, channel)
        if outcome is Outcome.WELCOME:
            port.generation_began()
            self._welcome_anew(port, channel)
        elif outcome is Outcome.WELCOME_BACK:
            self._welcome_back(port, channel, hello, fds)
        elif outcome is Outcome.MAKE_INTERFACE:
            channel.waits_for_tap = True
            self.reconciler.give_tap(port, lambda: self._greet(channel, message))
        elif outcome is Outcome.LOST_INTERFACE:
            self.reconciler.lost_tap(port)
        else:
            self.complaints.warn(
                port.number, "the daemon of partition %s %s", port.spec.name, hello.facts.objection
            )
            self.reconciler.replace(port)

    def _named(self, channel: Channel, message: Message) -> Port | None:
        """The port whose daemon this is, if it is that of the partition that it names."""
        port = self.ports.by_name.get(message["name"])
        if message["op"] != "hello" or port is None or port.is_being_removed:
            return None
        return port if self.supervisor.owns(port, channel.pid) else None

    def _recognize(self, port: Port, channel: Channel) -> None:
        """It is this process that serves the partition, and what an earlier connection may bring does not count."""
        if port.pid != channel.pid:  # somebody else has started it anew, under systemd
            self.supervisor.adopt(port, channel.pid, os.pidfd_open(channel.pid))
            self.reconciler.remember()
        if port.channel is not None:
            port.channel.close()

    def _welcome(self, port: Port, channel: Channel, fds: list[int], own: HeldLinks = ()) -> None:
        """It is handed the directory and these descriptors, and its `own` links are taken up."""
        port.connected(channel)
        welcome = {
            "op": "welcome",
            "port": port.number,
            "generation": port.generation,
            "options": {"hugepages": self.options.hugepages, "idle_timeout": self.options.idle_timeout,
                        "poll_us": self.options.poll_us, "log_level": self.options.log_level},
        }  # fmt: skip
        channel.send(welcome, [self.relay.directory.region.fd, *fds])
        trace.note("daemon_registered", port.number, port.generation, port.pid, text=port.spec.name)
        links = self.relay.links
        links.port_up(port.number, self.registered.get(port.number) != (port.pid, port.started))
        self.registered[port.number] = port.pid, port.started
        for peer, ident in own:
            if peer in self.ports.by_number:  # a link to a port that is no more has lost its other end
                links.adopt(port.number, peer, ident)
        links.request(0, port.number)

    def _welcome_anew(self, port: Port, channel: Channel) -> None:
        """A new daemon is handed all that it works on."""
        ring = self._ring_of(port)
        self._welcome(port, channel, [port.tap, port.counters.fd, *ring])
        registration.close_all(ring)

    def _ring_of(self, port: Port) -> list[int]:
        """A descriptor of the ring of a port's trace, if there can be one."""
        try:
            return [trace_files.make(self.traces, port.spec.name)]
        except OSError as error:
            self.complaints.warn(port.number, "%s goes on without a trace: %s", port.spec.name, error)
            return []

    def _welcome_back(self, port: Port, channel: Channel, hello: Hello, fds: list[int]) -> None:
        """Its TAP, its counters and its links are those of the port from now on."""
        assert hello.counters is not None
        port.take_counters(hello.counters)
        port.take_tap(fds.pop(0))
        port.generation_goes_on(hello.generation)
        self._welcome(port, channel, [], hello.links)

    def _greet(self, channel: Channel, message: Message) -> None:
        """The interface is there that a daemon has waited for, if it still waits."""
        channel.waits_for_tap = False
        if channel.sock.fileno() >= 0:
            self._hello(channel, message, [])


@dataclass(frozen=True)
class Hello:
    """A hello, read to its end; all but the facts is only of a daemon that returns."""

    facts: Facts
    counters: Region | None = None
    generation: int = 0
    links: HeldLinks = ()


def _identify(port: Port, message: Message, fds: list[int]) -> Hello:
    """What the daemon of a port says and brings; ValueError and the like when it is not well formed."""
    if not _is_returning(fds):
        return Hello(Facts(serves=True, has_interface=tap.is_alive(port.tap)))
    generation = int(message["generation"]) % GENERATIONS
    links = tuple((int(peer), int(ident)) for peer, ident in registration.some(message["links"]))
    if not tap.is_alive(fds[0]):
        return Hello(Facts(serves=True, returns=True))
    region, objection = _open_brought(port, fds)
    return Hello(Facts(True, True, True, objection), region, generation, links)


def _is_returning(fds: list[int]) -> bool:
    """Whether a daemon has brought back the TAP and the counters that the last hosting daemon has handed it."""
    if len(fds) != 2:
        return False
    if not tap.is_tap(fds[0]):
        raise ValueError("it brings back what is no TAP")
    return True


def _open_brought(port: Port, fds: list[int]) -> tuple[Region | None, str]:
    """The counters that a daemon brings back, or why we can't work with them and its TAP."""
    where = port.home.identity if port.home is not None else netns.identity(port.spec.netns_path)
    is_elsewhere = where is not None and tap.whereabouts(fds[0]) != where
    # We would change what has its name there. One that is handed over may have been moved while nobody looked.
    if is_elsewhere and not port.is_under_way and not _is_back(port, fds[0]):
        return None, "has brought a foreign interface"
    try:
        return counters.open_shared(os.dup(fds[1])), ""
    except Refused as error:
        return None, f"is of another version: {error}"


def _is_back(port: Port, fd: int) -> bool:
    """Whether an interface that was handed over is where it was made."""
    return port.birthplace is not None and tap.is_at_home(fd, port.birthplace)
