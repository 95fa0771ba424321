"""The little of the DNS message format (RFC 1035, RFC 6891) that is needed here: one question, and addresses and names.

What is read comes from strangers. So only what a question has is understood, and everything else refused: names in
questions are never compressed, and there is one question in a message. Why no library reads it: docs/design/names.md.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from vnicd.names.zone import Address, Labels

HEADER = struct.Struct("!HHHHHH")
"""Id, flags, and how many questions, answers, authorities and additions there are."""

FIXED = struct.Struct("!HH")
"""Type and class of a question."""

RECORD = struct.Struct("!HHHIH")
"""A pointer to the question's name, type, class, seconds to live, and bytes of what follows."""

OPT = struct.Struct("!BHHIH")
"""An empty name, its type, the bytes that its sender takes by UDP, flags, and bytes of what follows."""

QUESTION_NAME = 0xC000 | HEADER.size
MAX_NAME = 255
MAX_LABEL = 63

RESPONSE, OPCODE, AUTHORITATIVE, TRUNCATED, DESIRED, AVAILABLE = (
    0x8000,
    0x7800,
    0x0400,
    0x0200,
    0x0100,
    0x0080,
)
"""Flags: what it is, and whether recursion is desired and available."""

IN, ANY_CLASS = 1, 255


class Type(IntEnum):
    A = 1
    PTR = 12
    AAAA = 28
    OPT = 41
    SVCB = 64
    HTTPS = 65
    ANY = 255


class Code(IntEnum):
    """How a question was answered."""

    NOERROR = 0
    FORMERR = 1
    SERVFAIL = 2
    NXDOMAIN = 3
    NOTIMP = 4
    REFUSED = 5


@dataclass(frozen=True)
class Question:
    """A question that was understood, and the message that it came in."""

    data: bytes
    labels: Labels
    type: int
    class_: int
    end: int
    """Where the question ends in the data."""
    size: int | None
    """Bytes that the asker takes by UDP, None if it does not speak EDNS."""

    def is_answered_by(self, reply: bytes, ident: int) -> bool:
        """Whether a message answers this question, which was sent with another id."""
        if len(reply) < self.end:
            return False
        got, flags, questions, *_ = HEADER.unpack_from(reply)
        same = reply[HEADER.size : self.end].lower() == self.data[HEADER.size : self.end].lower()
        return got == ident and bool(flags & RESPONSE) and questions == 1 and same


def parse(data: bytes) -> Question | None:
    """The question of a message with a whole header; None when there is anything wrong with it."""
    if HEADER.unpack_from(data)[2:5] != (1, 0, 0):
        return None
    labels: list[bytes] = []
    at = HEADER.size
    while at < len(data) and data[at]:
        length = data[at]
        labels.append(data[at + 1 : at + 1 + length])
        at += 1 + length
        if length > MAX_LABEL or at - HEADER.size >= MAX_NAME:
            return None
    end = at + 1 + FIXED.size
    if end > len(data):
        return None
    kind, class_ = FIXED.unpack_from(data, at + 1)
    return Question(data, tuple(labels), kind, class_, end, _size(data, end))


def _size(data: bytes, at: int) -> int | None:
    """What an OPT record right behind the question says; elsewhere nobody puts it."""
    if HEADER.unpack_from(data)[5] == 0 or len(data) < at + OPT.size:
        return None
    name, kind, size, _, _ = OPT.unpack_from(data, at)
    return size if (name, kind) == (0, Type.OPT) else None


def answer(
    question: Question, code: int, records: bytes = b"", count: int = 0, flags: int = 0, size: int = 0
) -> bytes:
    """An answer with these records; `size` is what we take by UDP, which is said to who speaks EDNS."""
    ident, asked = struct.unpack_from("!HH", question.data)
    edns = question.size is not None
    header = HEADER.pack(ident, RESPONSE | AVAILABLE | asked & DESIRED | flags | code, 1, count, 0, int(edns))
    body = question.data[HEADER.size : question.end] + records
    return header + body + (OPT.pack(0, Type.OPT, size, 0, 0) if edns else b"")


def bare(data: bytes, code: int) -> bytes:
    """An answer of nothing but a header, to a message that was not understood."""
    ident, asked = struct.unpack_from("!HH", data)
    return HEADER.pack(ident, RESPONSE | AVAILABLE | asked & (OPCODE | DESIRED) | code, 0, 0, 0, 0)


def address_record(ip: Address, ttl: int) -> bytes:
    """That the name in the question has this address."""
    kind = Type.A if ip.version == 4 else Type.AAAA
    return RECORD.pack(QUESTION_NAME, kind, IN, ttl, len(ip.packed)) + ip.packed


def name_record(labels: Labels, ttl: int) -> bytes:
    """That the address in the question has this name."""
    name = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    return RECORD.pack(QUESTION_NAME, Type.PTR, IN, ttl, len(name)) + name
