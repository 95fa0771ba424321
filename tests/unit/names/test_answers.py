"""What is answered to which message, whatever strangers send."""

from __future__ import annotations

import struct
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.framework.traffic import dns
from tests.framework.traffic.dns import AAAA, ANY, PTR, SOA, A
from vnicd.names import wire
from vnicd.names.answers import MAX_QUERY, Answer, judge, refusal
from vnicd.names.wire import Code, Question
from vnicd.names.zone import Zone

MANY = tuple(f"fd77::{number:x}:1" for number in range(1, 17))
LONG = "a" * 32


def zone() -> Zone:
    made = Zone()
    made.put("green", ["10.77.0.2", "fd77::2"])
    made.put("quiet", [])
    made.put("web.1", ["10.77.0.3"])
    made.put(LONG, MANY)
    return made


def reply(data: bytes, forwarding: bool = True, tcp: bool = False) -> dns.Reply:
    found = judge(zone(), data, forwarding, tcp)
    assert isinstance(found, Answer)
    return dns.parse(found.data)


@pytest.mark.parametrize(
    ("name", "kind", "code", "found"),
    [
        ("green", A, dns.NOERROR, ("10.77.0.2",)),
        ("green", AAAA, dns.NOERROR, ("fd77::2",)),
        ("green", ANY, dns.NOERROR, ("10.77.0.2", "fd77::2")),
        ("green", SOA, dns.NOERROR, ()),
        ("GrEeN.VNICD.internal", A, dns.NOERROR, ("10.77.0.2",)),
        ("web.1", A, dns.NOERROR, ("10.77.0.3",)),
        ("web.1", AAAA, dns.NOERROR, ()),
        ("web.1.vnicd.internal", A, dns.NOERROR, ("10.77.0.3",)),
        ("quiet", A, dns.NOERROR, ()),
        ("nobody", A, dns.NXDOMAIN, ()),
        ("nobody", AAAA, dns.NXDOMAIN, ()),
        ("nobody.vnicd.internal", SOA, dns.NXDOMAIN, ()),
        ("vnicd.internal", SOA, dns.NOERROR, ()),
        ("localhost", A, dns.NOERROR, ("127.0.0.1",)),
        ("2.0.77.10.in-addr.arpa", PTR, dns.NOERROR, ("green.vnicd.internal",)),
        ("3.0.77.10.IN-ADDR.arpa", PTR, dns.NOERROR, ("web.1.vnicd.internal",)),
        ("2.0.77.10.in-addr.arpa", A, dns.NOERROR, ()),
        (f"2{'.0' * 27}.7.7.d.f.ip6.arpa", PTR, dns.NOERROR, ("green.vnicd.internal",)),
    ],
)
def test_what_is_ours(name: str, kind: int, code: int, found: tuple[str, ...]) -> None:
    got = reply(dns.question(name, kind))
    assert (got.ident, got.code, got.found) == (7, code, found)
    assert got.flags & 0x0580 == 0x0580, "authoritative, recursion desired and available"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("www.example.com", A),
        ("9.0.77.10.in-addr.arpa", PTR),
        ("77.10.in-addr.arpa", PTR),
        ("com", SOA),
        ("", SOA),
    ],
)
def test_what_is_not_ours(name: str, kind: int) -> None:
    data = dns.question(name, kind)
    assert isinstance(judge(zone(), data, True), Question)
    assert reply(data, forwarding=False).code == dns.REFUSED


def test_what_is_no_question() -> None:
    good = dns.question("green")
    assert judge(zone(), b"", True) is None
    assert judge(zone(), good[:11], True) is None
    assert judge(zone(), good[:2] + b"\x81" + good[3:], True) is None, "an answer is not answered"
    assert reply(good[:2] + b"\x29" + good[3:]).code == dns.NOTIMP
    for damaged in (good[:12], good[:-1], good[:4] + b"\0\2" + good[6:], good + bytes(MAX_QUERY)):
        assert reply(damaged).code == dns.FORMERR
    pointed = good[:12] + b"\xc0\x0c" + good[-4:]
    assert reply(pointed).code == dns.FORMERR
    assert reply(dns.question("green", 252)).code == dns.REFUSED
    assert reply(dns.question("version.bind", 16, class_=3)).code == dns.REFUSED


HEADER = struct.pack("!HHHHHH", 7, 0x0100, 1, 0, 0, 0)
FIXED = b"\0\1\0\1"


def circle() -> bytes:
    """A name whose two pointers lead to each other: what is read from an odd place passes over the first of them."""
    labels = HEADER + b"\1\1" * 543 + b"\1\2"
    return labels + b"\xc2\x81" + b"\xc0\x0c" + FIXED


@pytest.mark.parametrize(
    "data",
    [
        circle(),
        HEADER + b"\1a" * 600 + b"\0" + FIXED,
        HEADER + b"\1a" * 127 + b"\x3f" + bytes(63) + b"\0" + FIXED,
        HEADER + b"\x40" + b"a" * 64 + b"\0" + FIXED,
        HEADER[:4] + b"\0\x64" + HEADER[6:] + b"\1a" * 100 + b"\0" + FIXED + (b"\xc0\x0c" + FIXED) * 99,
    ],
    ids=["circle", "labels", "length", "label", "questions"],
)
def test_what_is_made_to_cost_time(data: bytes) -> None:
    begin = time.process_time()
    for _ in range(100):
        assert reply(data).code == dns.FORMERR
    assert time.process_time() - begin < 1


def test_a_label_may_have_any_bytes() -> None:
    data = HEADER + b"\3\xe4b.\3com\0" + FIXED
    question = judge(zone(), data, True)
    assert isinstance(question, Question)
    assert (question.labels, question.data) == ((b"\xe4b.", b"com"), data)


def test_what_is_too_long_for_udp_is_asked_again_by_tcp() -> None:
    assert reply(dns.question(f"{LONG}.vnicd.internal", AAAA)).truncated
    assert reply(dns.question(f"{LONG}.vnicd.internal", AAAA, size=1200)).found == MANY
    assert reply(dns.question(f"{LONG}.vnicd.internal", AAAA), tcp=True).found == MANY
    assert len(reply(dns.question(f"{LONG}.vnicd.internal", AAAA, size=1)).data) <= 512


def test_a_refusal_is_told_to_who_speaks_edns() -> None:
    query = judge(zone(), dns.question("www.example.com", size=4096), True)
    assert isinstance(query, Question)
    got = dns.parse(refusal(query, Code.SERVFAIL))
    assert (got.code, got.found, got.data[10:12]) == (dns.SERVFAIL, (), b"\0\1")


def test_whose_answer_it_is() -> None:
    query = wire.parse(dns.question("www.Example.com"))
    assert query is not None
    good = bytearray(dns.question("www.example.com", ident=99))
    good[2] |= 0x80
    assert query.is_answered_by(bytes(good), 99)
    assert not query.is_answered_by(bytes(good), 98)
    assert not query.is_answered_by(bytes(good[:-5]), 99)
    assert not query.is_answered_by(bytes(good).replace(b"example", b"exbmple"), 99)
    assert not query.is_answered_by(dns.question("www.example.com", ident=99), 99)


names = st.lists(st.binary(min_size=1, max_size=63), max_size=6).filter(
    lambda labels: sum(map(len, labels)) < 240
)


@given(st.binary(max_size=MAX_QUERY + 2), st.booleans(), st.booleans())
def test_any_bytes(data: bytes, forwarding: bool, tcp: bool) -> None:
    check(data, forwarding, tcp)


@given(
    names,
    st.integers(0, 0xFFFF),
    st.integers(0, 0xFFFF),
    st.integers(0, 0xFFFF),
    st.binary(max_size=40),
    st.data(),
)
def test_damaged_questions(
    labels: list[bytes], flags: int, kind: int, class_: int, rest: bytes, data: st.DataObject
) -> None:
    name = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    message = bytearray(struct.pack("!HHHHHH", 1, flags, 1, 0, 0, bool(rest)) + name)
    message += struct.pack("!HH", kind, class_) + rest
    for at in data.draw(st.lists(st.integers(0, len(message) - 1), max_size=3)):
        message[at] = data.draw(st.integers(0, 255))
    check(bytes(message), True, False)


def check(data: bytes, forwarding: bool, tcp: bool) -> None:
    """An answer that is one and no longer than UDP takes, or nothing, or a question of the same bytes."""
    found = judge(zone(), data, forwarding, tcp)
    if isinstance(found, Answer):
        assert struct.unpack_from("!HH", found.data)[1] & 0x8000
        assert found.data[:2] == data[:2]
        assert len(found.data) <= 1232
    elif found is not None:
        assert forwarding
        assert found.data == data
