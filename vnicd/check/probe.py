"""Probes with real packets: sent by the kernels of both ends, and watched on both interfaces as they pass.

Each probe has a mark of its own, a TCP connection its port, so other traffic is not mistaken for it. Watching is done
by packet sockets with a filter. Nothing is changed, but that kernels enter neighbours as they do for any packet.
"""

from __future__ import annotations

import os
import selectors
import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from vnicd.check.facts import Kind, Refusal, Trace, Way
from vnicd.kernel import netns, packet_socket
from vnicd.packet import probe as packets

ETH_P_ALL = 0x0003
PACKET_OTHERHOST, PACKET_OUTGOING = 3, 4
SOL_RAW, ICMP_FILTER, ICMPV6_FILTER = 255, 1, 1
ECHO_REPLY6 = 129
IP_MTU_DISCOVER, IPV6_MTU_DISCOVER, PMTUDISC_PROBE = 10, 23, 3
SNAPSHOT = 256
"""Bytes of a frame that are looked at: enough for the headers of an error and of what it quotes."""

ECHO_TIMEOUT_S, BACK_TIMEOUT_S, LARGE_TIMEOUT_S, TCP_TIMEOUT_S = 1.0, 0.6, 0.5, 1.2
RESEND_S = 0.25
ROUNDS = 3
"""Echo requests whose quickest answer tells the round-trip time."""

NEAR, FAR = "near", "far"
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


@dataclass
class Place:
    """An interface in a namespace; that of the far end, or the uplink's NIC where the far end is outside."""

    netns: str
    ifname: str
    is_wire: bool = False
    """What goes out here is on its way to the far end."""


@dataclass
class _Probe:
    way: Way
    trace: Trace
    start: str
    by_hand: bool = False
    """It is a frame that is put on the interface, past the kernel."""
    data: bytes = b""
    sent: float = 0.0


class Prober:
    """The sockets of a check. `deadline` is a time of time.monotonic() after which no phase goes on."""

    def __init__(
        self, near: Place, far: Place | None, ways: list[Way], tcp_port: int, deadline: float
    ) -> None:
        self.places = {NEAR: near, **({FAR: far} if far else {})}
        self.ways, self.tcp_port, self.deadline = ways, tcp_port, deadline
        self.ident = int.from_bytes(os.urandom(2), "big")
        self.number = 0
        self.probes: dict[bytes, _Probe] = {}
        self.asking = True
        """Questions for neighbours are noted, too."""
        self.raw: dict[tuple[str, int], socket.socket] = {}
        self.send: dict[str, socket.socket] = {}
        self.tcp: dict[int, tuple[socket.socket, _Probe]] = {}
        self.selector = selectors.DefaultSelector()
        self.owned: list[socket.socket] = []

    def __enter__(self) -> Prober:
        try:
            self._open()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.selector.close()
        for sock in self.owned:
            sock.close()

    # ------------------------------------------------------------------------------------------ sockets

    def _open(self) -> None:
        near = self.places[NEAR]
        if self.tcp_port:
            netns.inside(near.netns, self._open_tcp)
        ports = [sock.getsockname()[1] for sock, _ in self.tcp.values()]
        for name, place in self.places.items():
            netns.inside(place.netns, partial(self._open_at, name, place, ports))

    def _open_tcp(self) -> None:
        for way in self.ways:
            sock = self._own(socket.socket(FAMILIES[way.version], socket.SOCK_STREAM))
            sock.setblocking(False)
            sock.bind(("", 0))
            way.tcp = Trace(Kind.TCP)
            self.tcp[sock.getsockname()[1]] = sock, _Probe(way, way.tcp, NEAR)

    def _open_at(self, name: str, place: Place, ports: list[int]) -> None:
        with suppress(OSError):  # there is no such interface, which the facts tell
            sock = self._own(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
            sock.setblocking(False)
            packet_socket.attach(sock, packets.watch_filter(ports))
            sock.bind((place.ifname, ETH_P_ALL))
            self.selector.register(sock, selectors.EVENT_READ, partial(self._watched, name, sock))
            out = self._own(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
            out.setblocking(False)
            out.bind((place.ifname, 0))
            self.send[name] = out
        if place.is_wire:
            return
        for version in {way.version for way in self.ways}:
            with suppress(OSError):  # a kernel without IPv6
                self.raw[name, version] = self._own(_raw(version))
                self.selector.register(
                    self.raw[name, version],
                    selectors.EVENT_READ,
                    partial(self._received, name, version),
                )

    def _own(self, sock: socket.socket) -> socket.socket:
        self.owned.append(sock)
        return sock

    # --------------------------------------------------------------------------------------------- phases

    def there(self) -> None:
        """What the near kernel sends: an echo request and a TCP connection to each target, until all are answered."""
        began = time.monotonic()
        self._connect()
        probes = [self._echo(way, way.echo, NEAR) for way in self.ways]
        self._repeat(probes, ECHO_TIMEOUT_S)
        for probe in probes:
            if probe.trace.received:
                self._measure(probe)
        if self.tcp:
            self._end_connections(max(0.0, began + TCP_TIMEOUT_S - time.monotonic()))

    def _measure(self, first: _Probe) -> None:
        """The quickest of some rounds: the first had to find the neighbour, perhaps."""
        for _ in range(ROUNDS):
            again = self._echo(first.way, Trace(), NEAR)
            self._repeat([again], 0.2)
            if again.trace.received:
                first.trace.rtt_ms = min(first.trace.rtt_ms, again.trace.rtt_ms)

    def back(self, macs: tuple[str, str]) -> None:
        """Echo requests from the far kernel, and, where there was no answer, frames past both kernels.

        `macs` are those that vnicd knows of the near and of the far interface. Only after there(): a question of the
        far end tells the near one where it is.
        """
        self._forget()
        probes = []
        for way in self.ways:
            if not way.echo.received and way.source and all(macs):
                way.frame, way.frame_back = Trace(), Trace()
                probes.append(self._frame(way, way.frame, NEAR, macs, (way.source, way.target)))
                turned = macs[1], macs[0]
                probes.append(self._frame(way, way.frame_back, FAR, turned, (way.target, way.source)))
            if way.source:
                way.echo_back = Trace()
                probes.append(self._echo(way, way.echo_back, FAR))
        self._repeat(probes, BACK_TIMEOUT_S)

    def large(self, mtu: int) -> None:
        """Echo requests as large as the near interface takes them, not to be cut on the way."""
        self._forget()
        probes = []
        for way in self.ways:
            if way.echo.received and mtu:
                way.large, way.large_size = Trace(), mtu
                probes.append(self._echo(way, way.large, NEAR, mtu))
        self._repeat(probes, LARGE_TIMEOUT_S)

    def _connect(self) -> None:
        """Begin TCP connections from the near end to the port."""
        for sock, probe in self.tcp.values():
            probe.sent = time.perf_counter()
            try:
                sock.connect((probe.way.target, self.tcp_port))
            except BlockingIOError:
                pass
            except OSError as error:
                probe.trace.error = error.strerror or str(error)
                continue
            self.selector.register(sock, selectors.EVENT_WRITE, partial(self._connected, sock, probe))

    def _end_connections(self, timeout: float) -> None:
        """Wait for those that are not made yet, and close them all."""
        self._run(
            lambda: all(each.trace.received or each.trace.error for _, each in self.tcp.values()), timeout
        )
        self._run(lambda: False, 0)  # what the watchers have to tell of it
        for sock, _ in self.tcp.values():
            with suppress(KeyError):
                self.selector.unregister(sock)
            sock.close()

    def _connected(self, sock: socket.socket, probe: _Probe) -> None:
        self.selector.unregister(sock)
        number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            probe.trace.error = os.strerror(number)
        else:
            probe.trace.received = True
            probe.trace.rtt_ms = (time.perf_counter() - probe.sent) * 1000

    def _forget(self) -> None:
        """Take no more notice of earlier probes: what is sent next may set free what waits for a neighbour."""
        self.probes.clear()
        self.asking = False

    # -------------------------------------------------------------------------------------------- sending

    def _mark(self, probe: _Probe) -> bytes:
        mark = b"vnicd" + os.urandom(packets.MARK - 5)
        self.probes[mark] = probe
        return mark

    def _echo(self, way: Way, trace: Trace, start: str, size: int = 0) -> _Probe:
        probe = _Probe(way, trace, start)
        self.number += 1
        probe.data = packets.echo(way.version, self.ident, self.number, self._mark(probe), size)
        return probe

    def _frame(
        self, way: Way, trace: Trace, start: str, macs: tuple[str, str], addresses: tuple[str, str]
    ) -> _Probe:
        probe = _Probe(way, trace, start, by_hand=True)
        self.number += 1
        message = packets.echo(way.version, self.ident, self.number, self._mark(probe))
        probe.data = packets.frame(macs, addresses, message)
        return probe

    def _repeat(self, probes: list[_Probe], timeout: float) -> None:
        """Send again from time to time what was not answered."""
        end = time.monotonic() + timeout
        while (left := end - time.monotonic()) > 0:
            waiting = [probe for probe in probes if not _is_done(probe)]
            if not waiting:
                break
            for probe in waiting:
                self._send(probe)
            self._run(lambda: all(map(_is_done, probes)), min(left, RESEND_S))
            if time.monotonic() >= self.deadline:
                break
        self._run(lambda: False, 0)

    def _send(self, probe: _Probe) -> None:
        probe.sent = time.perf_counter()
        try:
            if probe.by_hand:
                if probe.start in self.send:
                    self.send[probe.start].send(probe.data)
                return
            sock = self.raw.get((probe.start, probe.way.version))
            if sock is not None:
                target = probe.way.target if probe.start == NEAR else probe.way.source
                sock.sendto(probe.data, (target, 0))
                probe.trace.error = ""
        except OSError as error:
            probe.trace.error = error.strerror or str(error)

    # ------------------------------------------------------------------------------------------- watching

    def _run(self, until: Callable[[], bool], timeout: float) -> None:
        """Take what comes, for `timeout` seconds or `until` it is enough; with 0 what is there already."""
        end = min(time.monotonic() + timeout, self.deadline)
        while True:
            left = 0.0 if until() else max(0.0, end - time.monotonic())
            events = self.selector.select(left)
            for key, _ in events:
                key.data()
            if (not events and left <= 0) or time.monotonic() > self.deadline + 0.2:
                return

    def _watched(self, name: str, sock: socket.socket) -> None:
        try:
            data, about = sock.recvfrom(SNAPSHOT)
        except OSError:  # the interface was set down
            return
        seen = packets.parse(data)
        if seen is not None:
            self._note(name, about[2], seen)

    def _note(self, name: str, packet_type: int, seen: packets.Seen) -> None:
        outgoing = packet_type == PACKET_OUTGOING
        if seen.what in ("ask", "tell"):
            for way in self.ways if self.asking else ():
                if seen.about == way.next_hop:
                    self._trace(way.ask, NEAR, name, outgoing, seen.what == "tell", seen.target_mac)
            return
        probe = self.probes.get(seen.mark)
        for port in seen.ports:
            probe = self.tcp[port][1] if port in self.tcp else probe
        if probe is None:
            return
        if seen.what == "error":
            refusal = Refusal(seen.source, seen.kind, seen.code, seen.mtu)
            if refusal not in probe.trace.refusals:
                probe.trace.refusals.append(refusal)
            return
        is_answer = seen.what in ("reply", "syn-ack", "reset")
        if seen.what == "reset":
            if seen.ports[1] not in self.tcp:  # the near end's own, to what it did not ask for
                return
            probe.trace.reset = True
        self._trace(probe.trace, probe.start, name, outgoing, is_answer, seen.target_mac)
        if packet_type == PACKET_OTHERHOST and not is_answer and not self.places[name].is_wire:
            probe.trace.for_other = True

    def _trace(
        self, trace: Trace, start: str, name: str, outgoing: bool, is_answer: bool, target_mac: str
    ) -> None:
        if name == start:
            if outgoing and not is_answer:
                trace.left, trace.target_mac = True, target_mac
            elif not outgoing and is_answer:
                trace.returned = True
        elif (outgoing == self.places[name].is_wire) and not is_answer:
            trace.arrived = True
        elif (outgoing != self.places[name].is_wire) and is_answer:
            trace.answered = True

    def _received(self, name: str, version: int) -> None:
        try:
            data = self.raw[name, version].recv(SNAPSHOT)
        except OSError:
            return
        probe = self.probes.get(packets.mark_of(version, data))
        if probe is not None and probe.start == name and not probe.trace.received:
            probe.trace.received = True
            probe.trace.rtt_ms = (time.perf_counter() - probe.sent) * 1000


def _is_done(probe: _Probe) -> bool:
    """Answered; of a frame that was put on the interface by hand, that its answer came back to there."""
    return probe.trace.received or (probe.by_hand and probe.trace.returned)


def _raw(version: int) -> socket.socket:
    """A socket for echo requests, which receives replies only."""
    protocol = socket.IPPROTO_ICMP if version == 4 else socket.IPPROTO_ICMPV6
    sock = socket.socket(FAMILIES[version], socket.SOCK_RAW, protocol)
    sock.setblocking(False)
    if version == 4:
        sock.setsockopt(SOL_RAW, ICMP_FILTER, struct.pack("=I", ~1 & 0xFFFFFFFF))
        sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_PROBE)
    else:
        blocked = [0xFFFFFFFF] * 8
        blocked[ECHO_REPLY6 // 32] &= ~(1 << ECHO_REPLY6 % 32)
        sock.setsockopt(socket.IPPROTO_ICMPV6, ICMPV6_FILTER, struct.pack("=8I", *blocked))
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, PMTUDISC_PROBE)
    return sock
