"""The preload library's side of direct sockets, played by Python: regions, doorbells, requests to a broker, a page."""

from __future__ import annotations

import fcntl
import mmap
import os
import socket
import struct
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from vnicd.sockets import abi
from vnicd.sockets.abi import Address, Op, Reply

TABLE_COUNT, TABLE_EPOCH, TABLE_OFFERS = 12, 16, 24
TABLE_CLIENTS = TABLE_OFFERS + 4 * abi.TABLE_PORTS
TABLE_ROWS = TABLE_CLIENTS + 4 * abi.TABLE_PORTS
"""Where these fields of struct vn_table are."""

REGION_OFFSETS = {
    "origin": 136,
    "decision": 148,
    "mode": 156,
    "large_from": 160,
    "large_origin": 168,
    "has_large": 204,
    "sleep_number": 264,
}
"""Those fields of struct vn_region that vnicd does not look at."""

ROOT = Path(__file__).parents[3]

F_ADD_SEALS, SHRINK, GROW, FUTURE_WRITE = 1033, 0x2, 0x4, 0x10


def make_stream_region(
    size: int = abi.REGION_BYTES, seals: int = SHRINK | GROW, name: str = "vnicd-region"
) -> int:
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size)
    fcntl.fcntl(fd, F_ADD_SEALS, seals)
    return fd


def stream_region_page(local: Address, remote: Address, **facts: int | str | bool) -> bytes:
    """A control page; `facts` are fields of struct vn_region."""
    page = bytearray(abi.CONTROL_BYTES)
    head = struct.pack("=IIiI", abi.REGION_MAGIC, abi.VERSION, facts.pop("pid", os.getpid()),
                       facts.pop("accepted", False))  # fmt: skip
    program = str(facts.pop("program", "python")).encode()
    ends = abi.pack_address(local) + abi.pack_address(remote)
    page[:80] = head + ends + program.ljust(16, b"\0")
    for name, value in facts.items():
        struct.pack_into("=I" if name == "state" else "=Q", page, abi.OFFSETS[name], value)
    return bytes(page)


def process_page(program: str, decisions: Sequence[tuple[Address, int]], pid: int = 0) -> bytes:
    """What a process tells that has made these decisions, each of which has its own place in time."""
    decided = [0] * 16
    rows = [b""] * abi.RECENT
    for index, (target, reason) in enumerate(decisions):
        decided[reason] += 1
        rows[index % abi.RECENT] = abi.pack_address(target) + struct.pack("=IiQ", reason, -1, index + 1)
    head = struct.pack("=IIiI16s16Q", abi.PROCESS_MAGIC, abi.VERSION, pid or os.getpid(),
                       len(decisions), program.encode(), *decided)  # fmt: skip
    return (head + b"".join(row.ljust(40, b"\0") for row in rows)).ljust(4096, b"\0")


@contextmanager
def lingering() -> Iterator[socket.socket]:
    """A TCP socket whose last close blocks until the end, and longer than any test waits."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 60))
        client.setblocking(False)
        with listener.accept()[0]:  # closed with unread data: a reset, which ends the lingering
            with suppress(BlockingIOError):
                while True:
                    client.send(bytes(1 << 16))
            yield client


EXCHANGED = (Op.OFFER, Op.TAKE, Op.FORGET)
"""Requests that go to the exchange."""


class Program:
    """A program with the preload library, as the broker sees it.

    By the name of the broker's exchange, or of its resolver, it has a connection to that alone.
    """

    def __init__(self, broker: str) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock.settimeout(10)
        self.sock.connect(f"\0{broker}")
        is_one = broker.endswith((abi.EXCHANGE, abi.RESOLVER))
        self.exchange = self if is_one else Program(broker + abi.EXCHANGE)
        self.offered: list[tuple[Address, Address]] = []

    def send(self, data: bytes, fds: Sequence[int] = ()) -> None:
        socket.send_fds(self.sock, [data], list(fds))

    def ask(
        self,
        op: Op,
        source: Address = abi.NOWHERE,
        target: Address = abi.NOWHERE,
        fds: Sequence[int] = (),
    ) -> tuple[Reply, list[int]]:
        where = self.exchange if op in EXCHANGED else self
        where.send(abi.request(op, source, target), fds)
        return where.reply()

    def catch_up(self) -> None:
        """The exchange has read what was sent to it before, by whomever."""
        assert self.ask(Op.TAKE)[0].reason == abi.Reason.NO_DESCRIPTORS

    def reply(self) -> tuple[Reply, list[int]]:
        """EOFError when the broker has ended the connection."""
        try:
            data, fds, _, _ = socket.recv_fds(self.sock, 64, 4)
        except ConnectionResetError as error:
            raise EOFError from error
        if not data:
            raise EOFError
        return abi.parse_reply(data), fds

    def offer(
        self, source: Address, target: Address, sock: socket.socket | None = None
    ) -> tuple[Reply, socket.socket]:
        """The answer, and our end of the doorbell; `sock` is bound to the source, or one is made that has its port."""
        ours, theirs = socket.socketpair()
        region = make_stream_region()
        tcp = sock or bound("", source.port)
        try:
            reply, _ = self.ask(Op.OFFER, source, target, [theirs.fileno(), region, tcp.fileno()])
        finally:
            theirs.close()
            os.close(region)
            if tcp is not sock:
                tcp.close()
        self.offered.append((source, target))
        return reply, ours

    def table(self) -> tuple[int, mmap.mmap]:
        """Our partition's number, and the table."""
        reply, fds = self.ask(Op.HELLO)
        (fd,) = fds
        try:
            return reply.port, mmap.mmap(fd, 0, mmap.MAP_SHARED, mmap.PROT_READ)
        finally:
            os.close(fd)

    def is_dropped(self) -> bool:
        """Whether the broker ends the connection instead of answering."""
        try:
            self.reply()
        except EOFError:
            return True
        return False

    def forget(self, source: Address, target: Address) -> None:
        self.exchange.send(abi.request(Op.FORGET, source, target))

    def close(self) -> None:
        """Withdraw all offers and go."""
        with suppress(OSError):  # it may have been dropped
            for source, target in self.offered:
                self.forget(source, target)
        self.end()

    def end(self) -> None:
        """Go, and leave the offers that wait."""
        self.exchange.sock.close()
        self.sock.close()


def bound(ip: str, port: int = 0) -> socket.socket:
    """A TCP socket with this address, or any."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # several test runs use a port side by side
    sock.bind((ip, port))
    return sock


def offers(table: mmap.mmap, port: int) -> int:
    return int(struct.unpack_from("=I", table, TABLE_OFFERS + 4 * port)[0])


def clients(table: mmap.mmap, port: int) -> int:
    return int(struct.unpack_from("=I", table, TABLE_CLIENTS + 4 * port)[0])


def epoch(table: mmap.mmap) -> int:
    return int(struct.unpack_from("=Q", table, TABLE_EPOCH)[0])


def entries(table: mmap.mmap) -> dict[str, int]:
    """The partition's number by address."""
    count = struct.unpack_from("=I", table, TABLE_COUNT)[0]
    found = {}
    for index in range(count):
        at = TABLE_ROWS + index * abi.ENTRY.size
        family, _, _, ip, port, _ = abi.ENTRY.unpack_from(table, at)
        found[socket.inet_ntop(family, ip[:4] if family == socket.AF_INET else ip)] = port
    return found


@contextmanager
def marker(target: Address, name: str = "") -> Iterator[None]:
    """The sign of a listener with the preload library."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(f"\0vnicd-listener/{target.port}/{name or target.text}")
        yield


def address_of(sock: socket.socket) -> Address:
    return abi.address(*sock.getsockname()[:2])


def command(local: Address, remote: Address, accepted: bool) -> list[str]:
    """A program, run in ROOT, that has one region of a connection and a page about itself, until it is killed."""
    ends = [f"{end.text},{end.port}" for end in (local, remote)]
    return [sys.executable, "-m", "tests.framework.sockets.preload", *ends, str(int(accepted))]


def main() -> None:
    local, remote = (abi.address(text.split(",")[0], int(text.split(",")[1])) for text in sys.argv[1:3])
    accepted = bool(int(sys.argv[3]))
    region = mmap.mmap(make_stream_region(), abi.REGION_BYTES)
    head = 20 if accepted else 10
    facts = {"program": "pretender", "head": head, "rings": 3}
    region[: abi.CONTROL_BYTES] = stream_region_page(local, remote, accepted=accepted, **facts)
    page = mmap.mmap(make_stream_region(abi.CONTROL_BYTES, name="vnicd-process"), abi.CONTROL_BYTES)
    page[:] = process_page("pretender", [(remote, int(abi.Reason.NO_LIBRARY))])
    print("ready", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
