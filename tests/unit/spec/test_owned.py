"""What only partitions with an owner have: routes, aliases, and words by which they are found."""

from __future__ import annotations

from typing import Any

import pytest

from vnicd.config import Options
from vnicd.errors import Invalid
from vnicd.spec.names import known_names
from vnicd.spec.partition import MAX_ALIASES, MAX_ROUTES, PartitionSpec, make_partition
from vnicd.spec.pool import pool_of


def made(**words: Any) -> PartitionSpec:
    return make_partition(**{"name": "a", "addresses": ["10.0.0.2/24"], "owner": ["x=1"], **words})


def test_routes_in_their_normal_form() -> None:
    spec = made(routes=["10.9.1.2/16 via 10.0.0.9", "10.8.0.0/16", "10.8.0.0/16"])
    assert spec.routes == ("10.9.0.0/16 via 10.0.0.9", "10.8.0.0/16")
    assert PartitionSpec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize(
    "words",
    [
        {"routes": "10.8.0.0/16"},
        {"routes": ["10.8.0.0/16 via"]},
        {"routes": ["10.8.0.0/16 via "]},
        {"routes": ["10.8.0.0/16 via 10.1.0.1"]},
        {"routes": ["fd00::/64 via 10.0.0.9"]},
        {"routes": ["0.0.0.0/0 via 10.0.0.9"]},
        {"routes": [5]},
        {"routes": [f"10.{n}.0.0/16" for n in range(MAX_ROUTES + 1)]},
        {"routes": ["10.8.0.0/16"], "owner": []},
        {"aliases": "web"},
        {"aliases": ["a/b"]},
        {"aliases": [""]},
        {"aliases": [5]},
        {"aliases": [f"a{n}" for n in range(MAX_ALIASES + 1)]},
        {"aliases": ["web"], "owner": None},
    ],
)
def test_what_is_refused(words: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        made(**words)


def test_an_owner_has_all_of_the_words() -> None:
    spec = made(owner=["x=1", "y=2"])
    assert spec.is_of([]) and spec.is_of(["y=2"])
    assert not spec.is_of(["y=3"]) and not spec.is_of(["x=1", "z=1"])


def test_aliases_are_shared_but_hide_no_name() -> None:
    specs = [made(aliases=["web", "b"]), made(name="b", addresses=["10.0.0.3/24"], aliases=["web"])]
    assert known_names(specs) == {
        "a": ("10.0.0.2",),
        "b": ("10.0.0.3",),
        "web": ("10.0.0.2", "10.0.0.3"),
    }


@pytest.mark.parametrize(
    ("given", "whole"),
    [
        ("10.88.0.7", "10.88.0.7/16"),
        ("10.88.0.7/24", "10.88.0.7/24"),
        ("10.99.0.7", "10.99.0.7"),
        ("x", "x"),
        (5, 5),
    ],
)
def test_an_address_without_its_length(given: object, whole: object) -> None:
    pool = pool_of(None, Options(subnets=("10.88.0.0/16",)))
    assert pool.with_length(given) == whole
