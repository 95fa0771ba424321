"""The machine's resolvers: what a resolv.conf says, when it changes, and whom to ask first."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vnicd.names import resolvers
from vnicd.names.forwarder import MAX_IN_FLIGHT, share
from vnicd.names.resolvers import Resolvers, parse


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", ["127.0.0.1"]),
        ("search example.com\noptions ndots:2\n", ["127.0.0.1"]),
        ("nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch .\n", ["127.0.0.53"]),
        (
            "# nameserver 1.1.1.1\nnameserver\t10.0.0.1 # a\n nameserver fe80::1%eth0\n",
            ["10.0.0.1", "fe80::1%eth0"],
        ),
        ("nameserver a\nnameserver 10.0.0.1\nnameserver 10.0.0.1\nnameserver", ["10.0.0.1"]),
        ("nameserver 127.0.0.77\n", ["127.0.0.1"]),
        (
            "".join(f"nameserver 10.0.0.{number}\n" for number in range(9)),
            ["10.0.0.0", "10.0.0.1", "10.0.0.2"],
        ),
    ],
)
def test_parse(text: str, found: list[str]) -> None:
    assert parse(text) == found


def test_a_file_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolvers, "LOOK_EVERY_S", 0)
    path = tmp_path / "resolv.conf"
    known = Resolvers(path)
    assert known.in_order() == ["127.0.0.1"]
    path.write_text("nameserver 10.0.0.1\nnameserver 10.0.0.2\n")
    assert known.in_order() == ["10.0.0.1", "10.0.0.2"]
    known.was_silent("10.0.0.1")
    assert known.in_order() == ["10.0.0.2", "10.0.0.1"]
    known.has_answered("10.0.0.1")
    assert known.in_order() == ["10.0.0.1", "10.0.0.2"]
    known.was_silent("10.0.0.1")
    new = tmp_path / "new"
    new.write_bytes(b"nameserver 10.0.0.1\n\xff")
    os.replace(new, path)  # noqa: PTH105
    assert known.in_order() == ["10.0.0.1"]
    path.unlink()
    assert known.in_order() == ["10.0.0.1"], "what can't be read leaves what was known"


def test_no_namespace_can_take_the_place_of_others() -> None:
    assert all(0 < share(count) <= 64 for count in range(256))
    assert all(count * share(count) <= MAX_IN_FLIGHT for count in range(1, 256))
