"""The hosting daemon's own datapath: port 0's loop and links, the directory, and the orders to all ends of links."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import threading
from collections.abc import Callable, Sequence

from vnicd.config import Options
from vnicd.host.links.manager import Link, Links
from vnicd.host.ports.complaints import Complaints, quoted
from vnicd.host.ports.port import Port, Ports
from vnicd.link.endpoint import Endpoint
from vnicd.native import counters, directory, memory
from vnicd.native.loop import Loop, queue_ms
from vnicd.process import trace
from vnicd.process.ticks import TICK_S, next_tick
from vnicd.protocol.registration import MAX_PORTS, Message, close_all, some

log = logging.getLogger(__name__)

MAINTAIN_INTERVAL_S = TICK_S / 2
"""Seconds between two looks for links that are late or missing, as long as there are any."""

NO_LIMITS = (0, 0)

LACKS = [os.strerror(code) for code in (errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOSPC)]


class HostRelay:
    """Relays between all ports; `on_up(port)` is called when a port's link to us is up."""

    def __init__(self, ports: Ports, options: Options, on_up: Callable[[Port], None]) -> None:
        self.ports = ports
        self.on_up = on_up
        self.complaints = Complaints(log)
        self.counters = counters.create()
        self.directory = directory.Writer()
        self.loop = Loop(0, self.counters, relays=True, poll_us=options.poll_us, ring=trace.ring())
        self.loop.set_directory(self.directory.region)
        self.links = Links(self.send)
        self.links.on_up = self._link_up
        self.links.on_making = lambda link: _note(link, "link_making")
        self.links.on_down = lambda link, reason: _note(link, "link_ended", reason)
        self.links.port_up(0)
        self.endpoint = Endpoint(0, self.loop, options.hugepages, self._own_reply)
        self.thread = threading.Thread(target=self.loop.run, name="loop", daemon=True)
        self.timer: asyncio.TimerHandle | None = None
        self.rates: dict[int, tuple[int, int]] = {}
        """Rate limits that the loop knows, in bits per second to and from the uplink, by port."""
        self.on_lack: Callable[[Port, str], None] = lambda port, what: None
        """Called with what there is too little of when our own end can't have a link to a port."""
        self.on_lost_tap: Callable[[], None] = lambda: None
        """Called when port 0's interface was deleted from outside."""

    def start(self) -> None:
        self.thread.start()
        asyncio.get_running_loop().add_reader(self.loop.event_fd, self._serve_loop)
        self._maintain()

    def stop(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
        asyncio.get_running_loop().remove_reader(self.loop.event_fd)
        if self.thread.is_alive():
            self.loop.stop()
            self.thread.join()

    def announce(self, port: Port, state: int) -> None:
        """Write a port's entry in the directory."""
        spec = port.spec
        self.directory.put(
            port.number,
            state,
            spec.mac,
            port.generation,
            port.following.mtu,
            spec.addresses,
            queue_ms(spec.rate // 8),
        )
        self.set_rate(port)

    def set_rate(self, port: Port) -> None:
        """Hold a port to its rate limits."""
        limits = port.spec.limits
        if self.rates.get(port.number, NO_LIMITS) != limits:
            self.loop.set_rates(port.number, *(limit // 8 for limit in limits))
            self.rates[port.number] = limits

    def withdraw(self, port: Port) -> None:
        """The port is no more: its links end and its number is free."""
        self.links.port_down(port.number)
        self.directory.free(port.number)
        if self.rates.pop(port.number, NO_LIMITS) != NO_LIMITS:
            self.loop.set_rates(port.number, *NO_LIMITS)

    # ----------------------------------------------------------------------------------- orders out

    def send(self, number: int, message: Message, fds: Sequence[int]) -> None:
        """An order to the end of a link at a port."""
        if number == 0:
            self._own_order(message, fds)
            return
        port = self.ports.by_number.get(number)
        if port is not None and port.channel is not None:
            port.channel.send(message, fds)

    def _own_order(self, message: Message, fds: Sequence[int]) -> None:
        """Our own end gets its orders from the event loop like everybody's, and not in the middle of another."""
        copies = [os.dup(fd) for fd in fds]
        asyncio.get_running_loop().call_soon(self.endpoint.handle, message, copies)

    def _own_reply(self, message: Message, fds: Sequence[int]) -> None:
        link = self.links.by_id.get(message.get("link_id", 0))
        port = self.ports.by_number.get(link.other(0)) if link is not None else None
        if port is not None and is_lack(error := str(message.get("error", ""))):
            self.on_lack(port, error)
        copies = [os.dup(fd) for fd in fds]
        try:
            self.take(0, message, copies)
        finally:
            close_all(copies)

    # -------------------------------------------------------------------------------------- reports in

    def take(self, number: int, message: Message, fds: list[int]) -> None:
        """What an end of a link reports; ValueError and the like when it is not well formed.

        Descriptors that are used are taken out of `fds`; the others stay the caller's.
        """
        op = message["op"]
        if op == "made" and len(fds) == 1:
            ident = int(message["link_id"])
            memory.check_shared(
                fds[0], memory.LINK_SIZE
            )  # the other end would have to close what it is instead
            page_size = os.fstat(fds[0]).st_blksize
            self.links.made(number, ident, fds.pop(), page_size)
        elif op == "made":
            error = quoted(message.get("error"))
            self.complaints.warn(number, "port %d can't make its side of a link: %s", number, error)
            self.links.failed(number, int(message["link_id"]))
        elif op == "attached":
            if message["error"]:
                error = quoted(message["error"])
                self.complaints.warn(number, "port %d refuses a link: %s", number, error)
            self.links.attached(number, int(message["link_id"]), str(message["error"]))
        elif op == "closed":
            self.links.closed(number, int(message["link_id"]))
        elif op == "want":
            for peer in some(message["ports"]):
                self.links.want(number, int(peer))
        elif op in ("idle", "fast"):
            report = self.links.idle if op == "idle" else self.links.promote
            for _, ident in some(message["links"]):
                report(number, int(ident))
        elif op == "gone":
            peer = int(message["peer"])
            if not 0 <= peer < MAX_PORTS:
                raise ValueError("not a port")
            self._gone(number, peer, int(message["link_id"]), str(message["reason"]))

    def _gone(self, number: int, peer: int, ident: int, reason: str) -> None:
        if reason != "dead":
            self.complaints.warn(
                number, "port %d dropped its link to port %d: %s", number, peer, quoted(reason)
            )
        self.links.failed(number, ident, fault=reason != "dead")

    def _serve_loop(self) -> None:
        _, gone, tap_gone = self.loop.take_events()
        if tap_gone:
            self.on_lost_tap()
        for peer, reason in gone.items():
            ident = self.loop.link_id(peer)
            self.loop.detach(peer)
            self._gone(0, peer, ident, reason)

    def _link_up(self, link: Link) -> None:
        _note(link, "link_up")
        if 0 not in link.ports:
            return
        port = self.ports.by_number[link.other(0)]
        port.linked(min(link.page_sizes.values(), default=0))
        self.on_up(port)

    def _maintain(self) -> None:
        """Look after links that do not come by themselves: late answers, and relays lost to a fault."""
        for a, b in self.links.sweep():
            log.warning("the link between ports %d and %d was not finished in time", a, b)
        relays = [
            port.number for port in self.ports if port.channel is not None and port.number in self.links.live
        ]
        for number in relays:
            self.links.request(0, number)
        is_done = not self.links.unfinished and all((0, number) in self.links.links for number in relays)
        period = TICK_S if is_done else MAINTAIN_INTERVAL_S
        self.timer = asyncio.get_running_loop().call_at(next_tick(period), self._maintain)


def is_lack(error: str) -> bool:
    """Whether the system says by this that there is too little of something."""
    return error.rpartition(": ")[2] in LACKS


def _note(link: Link, kind: str, text: str = "") -> None:
    trace.note(kind, *link.ports, link.ident, text=text)
