"""Direct sockets' structures and names: the same in Python and C, and strange pages do no harm."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.framework.sockets import preload
from vnicd.sockets import abi, presence_names
from vnicd.sockets.abi import Address, Op, Reason, Reply
from vnicd.sockets.connections import Own, Told, pair, processes

CEXT = Path(__file__).parents[3] / "cext"
HEADER = (CEXT / "abi/socket_layout.h").read_text()

CLIENT = abi.address("10.77.0.1", 40000)
SERVER = abi.address("10.77.0.2", 6379)


def test_a_region_and_a_process_fit_their_pages() -> None:
    assert max(abi.OFFSETS.values()) + 8 <= abi.CONTROL_BYTES
    assert abi.PROCESS_BYTES <= abi.CONTROL_BYTES


def test_reasons_have_the_same_names() -> None:
    listed = re.search(r"#define VN_REASONS\(X\)(.*?)\nenum", HEADER, re.DOTALL)
    assert listed
    assert re.findall(r"X\((\w+)\)", listed[1]) == [abi.reason_word(reason) for reason in Reason]
    assert set(abi.WORDS) == set(Reason)
    assert abi.reason_word(99) == "99"


def test_names_are_those_of_the_header() -> None:
    assert f'"{abi.BROKER_NAME}"' in HEADER
    assert f'VN_RESOLVER_NAME "{abi.RESOLVER}"' in HEADER
    assert f'VN_EXCHANGE_NAME "{abi.EXCHANGE}"' in HEADER
    assert 'VN_PRESENCE_NAME "vnicd-presence/"' in HEADER
    assert f'VN_PRESENCE_EXACT "{presence_names.EXACT.rpartition(b"/")[2].decode()}"' in HEADER
    assert f'VN_PRESENCE_PORTS "{presence_names.PORTS.rpartition(b"/")[2].decode()}"' in HEADER
    assert 'VN_PRESENCE_PORT "port/%u"' in HEADER
    form = re.search(r'VN_LISTENER_NAME "(.*?)"', HEADER)
    assert form
    assert abi.listener_names(SERVER) == [
        b"\0" + (form[1].replace("%u", "6379").replace("%s", text)).encode()
        for text in ("10.77.0.2", "0.0.0.0", "::")
    ]
    assert abi.listener_names(abi.address("fd77::1", 80)) == [
        f"\0vnicd-listener/80/{text}".encode() for text in ("fd77::1", "::")
    ]


def test_listeners_are_found_in_the_kernels_table() -> None:
    """Whatever else has a name, or looks like one of them."""
    row = "ffff9c0e8a2b4000: 00000002 00000000 00000000 0002 01 4711"
    names = (
        "@vnicd-listener/6379/10.77.0.2",
        "@vnicd-listener/80/::",
        "/run/other",
        "@vnicd-listener/80/nobody",
        "@vnicd-listener/80/1.2.3",
        "@vnicd-listener/99999999/::",
        "@vnicd-listener/81/::@",
    )
    table = "Num       RefCount Protocol Flags    Type St Inode Path\n"
    table += f"{row}\n" + "".join(f"{row} {name}\n" for name in names)
    assert abi.listeners(table.encode()) == {SERVER, abi.address("::", 80)}


# ----------------------------------------------------------------------------------------------------- messages

addresses = st.one_of(
    st.builds(Address, st.binary(min_size=4, max_size=4), st.integers(0, 65535)),
    st.builds(Address, st.binary(min_size=16, max_size=16), st.integers(0, 65535)).filter(
        lambda each: not each.ip.startswith(abi.MAPPED)
    ),
    st.just(abi.NOWHERE),
)


@given(st.sampled_from(Op), addresses, addresses)
def test_a_request_is_what_was_sent(op: Op, source: Address, target: Address) -> None:
    assert abi.parse_request(abi.request(op, source, target)) == (abi.VERSION, op, source, target)
    assert abi.parse_address(abi.pack_address(source)) == source


@given(st.binary(max_size=80))
def test_bytes_are_a_request_or_refused(data: bytes) -> None:
    try:
        assert len(abi.parse_request(data)) == 4
    except ValueError:
        pass


def test_a_mapped_address_is_ipv4() -> None:
    assert abi.address("::ffff:10.77.0.1", 40000) == CLIENT
    assert abi.address("fe80::1%eth0", 1) == abi.address("fe80::1", 1)
    family = socket.AF_INET6.to_bytes(2, "little") + (40000).to_bytes(2, "little") + bytes(4)
    assert abi.parse_address(family + abi.MAPPED + CLIENT.ip) == CLIENT
    with pytest.raises(ValueError, match="family"):
        abi.parse_address(b"\x63" + bytes(23))


def test_replies() -> None:
    assert abi.parse_reply(Reply(Reason.NO_OFFER, 7).pack()) == (Reason.NO_OFFER, 7, abi.VERSION)


def test_addresses_as_texts() -> None:
    assert str(CLIENT) == "10.77.0.1:40000"
    assert str(abi.address("fd77::1", 80)) == "[fd77::1]:80"
    assert abi.packed("10.77.0.1/24") == abi.packed("10.77.0.1") == CLIENT.ip
    assert abi.address("127.9.9.9", 1).is_loopback
    assert abi.address("::1", 1).is_loopback
    assert not SERVER.is_loopback


# -------------------------------------------------------------------------------------------- pages and connections


def region(accepted: bool, **facts: int | str | bool) -> abi.StreamRegion:
    ends = (SERVER, CLIENT) if accepted else (CLIENT, SERVER)
    return abi.parse_stream_region(preload.stream_region_page(*ends, accepted=accepted, **facts))


def test_a_region_is_read() -> None:
    page = preload.stream_region_page(
        CLIENT, SERVER, pid=7, program="redis", head=5, tail=3, state=1, rings=2, sleeps=4
    )
    assert abi.parse_stream_region(page) == (7, False, CLIENT, SERVER, "redis", 5, 3, 1, 0, 2, 4)


@pytest.mark.parametrize(
    "page",
    [b"", bytes(4096), preload.stream_region_page(CLIENT, SERVER)[:100]],
    ids=["empty", "zeros", "cut short"],
)
def test_what_is_no_region_is_refused(page: bytes) -> None:
    with pytest.raises(ValueError):
        abi.parse_stream_region(page)
    with pytest.raises(ValueError):
        abi.parse_process(page)


def test_a_program_cannot_name_itself_into_the_terminal() -> None:
    page = bytearray(preload.stream_region_page(CLIENT, SERVER))
    page[64:70] = b"\x1b[2J\xff\n"
    assert abi.parse_stream_region(bytes(page)).program == "?[2J\ufffd?"


@given(st.randoms(use_true_random=False))
def test_any_page_is_read_or_refused(random: Random) -> None:
    noise = random.randbytes(4088)
    stream_region_page = preload.stream_region_page(CLIENT, SERVER)[:8] + noise
    process_page = preload.process_page("x", [])[:8] + noise
    for parse, page in ((abi.parse_stream_region, stream_region_page), (abi.parse_process, process_page)):
        try:
            parse(page)
        except ValueError:
            pass


def test_two_halves_are_a_connection() -> None:
    client = Own(11, "web", (100,), region(False, program="bench", head=10, rings=1))
    server = Own(22, "db", (200, 201), region(True, program="redis", head=20, rings=2))
    (row,) = pair([server, client], {"web": "shop"})
    assert row == {
        "client": {"address": "10.77.0.1", "port": 40000, "partition": "web", "container": "shop", "pids": [100],
                   "program": "bench", "sent": 10, "wakeups": 1},
        "server": {"address": "10.77.0.2", "port": 6379, "partition": "db", "container": None, "pids": [200, 201],
                   "program": "redis", "sent": 20, "wakeups": 2},
        "state": "up",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("states", "state"),
    [
        ((0, 0), "up"),
        ((abi.FIN, 0), "closing"),
        ((0, abi.CLOSED), "closing"),
        ((abi.FIN, abi.FIN), "closed"),
        ((abi.FIN, abi.RESET), "reset"),
        ((0, None), "offered"),
        ((None, 0), "half-known"),
        ((abi.CLOSED, None), "closed"),
    ],
)
def test_the_state_of_a_connection(states: tuple[int | None, int | None], state: str) -> None:
    own = [
        Own(index, "p", (1,), region(bool(index), state=each))
        for index, each in enumerate(states)
        if each is not None
    ]
    assert [row["state"] for row in pair(own)] == [state]


def test_loopback_is_another_place_in_each_partition() -> None:
    ends = abi.address("127.0.0.1", 1), abi.address("127.0.0.1", 2)
    pages = [
        abi.parse_stream_region(preload.stream_region_page(*order, accepted=bool(accepted)))
        for accepted, order in enumerate((ends, ends[::-1]))
    ]
    own = [Own(number, name, (number,), page) for number, (name, page) in enumerate(
        (name, page) for name in ("blue", "green") for page in pages)]  # fmt: skip
    rows = pair(own)
    assert [(row["client"]["partition"], row["server"]["partition"], row["state"]) for row in rows] == [
        ("blue", "blue", "up"),
        ("green", "green", "up"),
    ]


def test_what_a_process_decided() -> None:
    decisions = [
        (SERVER, int(Reason.NO_LIBRARY)),
        (SERVER, int(Reason.DIRECT)),
        (CLIENT, int(Reason.NOT_A_PARTITION)),
    ]
    page = abi.parse_process(preload.process_page("curl", decisions, pid=5))
    (row,) = processes([Told("web", 5, page)], now_ns=2_000_000_003)
    assert row["decided"] == {"direct": 1, "not_a_partition": 1, "no_library": 1}
    assert row["recent"] == [
        {"target": "10.77.0.1:40000", "why": "not_a_partition", "ago_s": 2.0,
         "reason": "the target is no address of another partition"},
        {"target": "10.77.0.2:6379", "why": "no_library", "ago_s": 2.0,
         "reason": "the server runs without the library"},
    ]  # fmt: skip


def test_only_the_latest_decisions_are_kept() -> None:
    decisions = [(Address(SERVER.ip, port), int(Reason.NO_OFFER)) for port in range(1, 101)]
    page = abi.parse_process(preload.process_page("x", decisions))
    assert [each.target.port for each in page.recent] == list(range(37, 101))
    assert page.decided == {"no_offer": 100}
