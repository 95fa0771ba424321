"""How a network is declared: whole, and once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vnicd.cli.fabrics import making
from vnicd.cli.fabrics.networks import declared
from vnicd.config import Paths
from vnicd.errors import Exists
from vnicd.spec.network import make_network

WHAT = make_network("fast", "internal", subnets=["10.88.0.0/24"]).declared()


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path).of_network("fast")


def test_it_is_there_whole_or_not_at_all(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is killed in between leaves no network that is another one than was asked for."""

    def kill(fd: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", kill)
        with pytest.raises(KeyboardInterrupt):
            making._write(paths, WHAT)
    assert not paths.default.network_names()
    making._write(paths, WHAT)
    assert declared(paths) == WHAT
    assert [each.name for each in paths.root.iterdir()] == [paths.declaration.name]


def test_one_that_is_declared_stays(paths: Paths) -> None:
    making._write(paths, WHAT)
    with pytest.raises(Exists):
        making._write(paths, make_network("fast", "internal").declared())
    assert declared(paths) == WHAT
