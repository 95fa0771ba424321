"""Answers to questions of programs, which are strangers: each message is judged by itself. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from vnicd.names import wire
from vnicd.names.wire import Code, Question, Type
from vnicd.names.zone import Elsewhere, Zone
from vnicd.spec.names import TTL_S

MAX_QUERY = 1232
"""Bytes of a message with a question; a name has 255 at most, and EDNS adds some."""

PLAIN_SIZE = 512
"""Bytes of a UDP answer for who offers no other size by EDNS."""

OUR_SIZE = 1232
"""Bytes of a UDP answer at most: what passes any network in one piece."""

NO_QUESTIONS = range(249, 255)
"""Types for keys, transactions, zone transfers, and mail boxes of old."""

ADDRESS_TYPES = (Type.A, Type.AAAA, Type.ANY, Type.SVCB, Type.HTTPS)
"""What programs ask to reach somebody."""


@dataclass(frozen=True)
class Answer:
    """What is to be sent back."""

    data: bytes


def judge(zone: Zone, data: bytes, forwarding: bool, tcp: bool = False) -> Answer | Question | None:
    """The answer to a message, or the question if somebody else is to answer it; None when nothing is to be said.

    Without `forwarding` what is not ours is refused.
    """
    flags = int.from_bytes(data[2:4])
    if len(data) < wire.HEADER.size or flags & wire.RESPONSE:
        return None  # to answer an answer could go on for ever
    if flags & wire.OPCODE:
        return Answer(wire.bare(data, Code.NOTIMP))
    question = wire.parse(data) if len(data) <= MAX_QUERY else None
    if question is None:
        return Answer(wire.bare(data, Code.FORMERR))
    if question.class_ not in (wire.IN, wire.ANY_CLASS) or question.type in NO_QUESTIONS:
        return Answer(refusal(question, Code.REFUSED))
    ours = _ours(zone, question, tcp)
    if ours is not None:
        return Answer(ours)
    return question if forwarding else Answer(refusal(question, Code.REFUSED))


def refusal(question: Question, code: int) -> bytes:
    """An answer without one, such as SERVFAIL."""
    return wire.answer(question, code, size=OUR_SIZE)


def _ours(zone: Zone, question: Question, tcp: bool) -> bytes | None:
    """The answer to what the zone knows, or knows that there is not; None for the rest."""
    records: list[bytes] = []
    code = Code.NOERROR
    owner = zone.reverse(question.labels)
    found = zone.find(question.labels) if owner is None else ()
    if owner is not None and question.type in (Type.PTR, Type.ANY):
        records = [wire.name_record(owner, TTL_S)]
    elif found is Elsewhere.FOREIGN or (found is Elsewhere.MISSING and not _is_local(question)):
        return None
    elif isinstance(found, Elsewhere):
        code = Code.NXDOMAIN
    else:
        kinds = {4: (Type.A, Type.ANY), 6: (Type.AAAA, Type.ANY)}
        records = [wire.address_record(ip, TTL_S) for ip in found if question.type in kinds[ip.version]]
    data = wire.answer(question, code, b"".join(records), len(records), wire.AUTHORITATIVE, OUR_SIZE)
    if tcp or len(data) <= min(max(PLAIN_SIZE, question.size or 0), OUR_SIZE):
        return data
    return wire.answer(question, code, flags=wire.AUTHORITATIVE | wire.TRUNCATED, size=OUR_SIZE)


def _is_local(question: Question) -> bool:
    """Whether a name that is missing is so for all: a single label can be a top-level domain, of which a resolver in
    the partition asks for keys and name servers; addresses such a name has only as one of ours."""
    return len(question.labels) > 1 or question.type in ADDRESS_TYPES
