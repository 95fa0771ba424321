"""What programs have written into memory and names that the hosting daemon reads: control pages, names of listeners."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.fuzz.choices import Choices
from tests.fuzz.target import Target, Try
from vnicd.cli.commands.sockets import reason_rows, row
from vnicd.sockets import abi, connections, presence_names
from vnicd.sockets.connections import Own, Told

WORDS = (0, 1, 2, 3, 4, 5, 7, 8, 13, 64, 127, 10, 1 << 31, (1 << 32) - 1)
TEXTS = (b"10.0.0.1", b"::1", b"fd00::1", b"::ffff:10.0.0.1", b"1.2.3", b"::", b":" * 45, b"1" * 50)
LONGEST_CELL = 200


def _page(choices: Choices, magic: int) -> bytes:
    """Words of a page, the first of them mostly right."""
    version = abi.VERSION if not choices.one_in(16) else choices.below(65536)
    count = choices.below(65536) % (abi.CONTROL_BYTES // 4) if choices.one_in(8) else abi.CONTROL_BYTES // 4
    words = [
        choices.pick(WORDS) if choices.one_in(2) else choices.byte() << 16 | choices.byte() for _ in range(64)
    ]
    page = struct.pack("=II64I", magic if not choices.one_in(32) else 0, version, *words)
    families = struct.pack("=HH", choices.pick((2, 10, 0, 1, 65535)), choices.below(65536))
    page = page[:16] + families + page[20:40] + families + page[44:]
    return (page * (abi.CONTROL_BYTES // len(page) + 1))[: count * 4]


def _listeners(choices: Choices) -> bytes:
    lines = []
    for _ in range(choices.below(4)):
        text = choices.pick(
            (b"10.0.0.1", b"::1", b"fd00::1", b"::ffff:10.0.0.1", b"1.2.3", b"::", b":" * 45, b"1" * 50)
        )
        port = choices.pick((b"80", b"0", b"99999", b"100000", b"-1", b"x"))
        lines.append(
            b"ffff: 00000002 0 0 0002 01 1 @vnicd-listener/"
            + port
            + b"/"
            + text
            + choices.take(choices.below(3))
        )
    return b"\n".join(lines) + b"\n"


def attempt(data: bytes) -> int:
    choices = Choices(data)
    regions, told = [], []
    for number in range(1 + choices.below(4)):
        with suppress(ValueError):
            region = abi.parse_stream_region(_page(choices, abi.REGION_MAGIC))
            regions.append(Own(number, choices.pick(("", "web")), (1, 2), region))
        with suppress(ValueError):
            told.append(Told("web", number, abi.parse_process(_page(choices, abi.PROCESS_MAGIC))))
    pairs, processes = connections.pair(regions), connections.processes(told, choices.below(65536))
    json.dumps([pairs, processes])
    rows = [row(each) for each in pairs] + [cells for each in processes for cells in reason_rows(each)]
    for cell in (cell for cells in rows for cell in cells):
        assert cell.isprintable() and len(cell) <= LONGEST_CELL, f"not to be shown: {cell!r}"
    ports = {each.port for each in abi.listeners(_listeners(choices))}
    presence_names.names([b"\x0a\0\0\1", bytes(16)], ports)
    return 2 + len(regions) + len(told)


@contextmanager
def _opened() -> Iterator[Try]:
    yield attempt


TARGETS = {"pages": Target("control pages and names that programs have made", _opened, 1500)}
