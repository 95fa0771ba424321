"""An interface that can't be configured is undone by its descriptor alone: there may be no other one left."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Any

import pytest

from vnicd.host.partitions import kernel_ops
from vnicd.host.ports.port import Location
from vnicd.kernel import interface, netns, tap
from vnicd.spec.partition import make_partition

TAP, PLACE = 7, "/run/netns/green"


@pytest.mark.parametrize("is_attached", [False, True])
def test_nothing_of_it_is_left(is_attached: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_many(*args: Any, **more: Any) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    def inside(path: str, work: Callable[[], object]) -> object:
        return work()

    let_go: list[int] = []
    monkeypatch.setattr(netns, "inside", inside)
    monkeypatch.setattr(netns, "hold", lambda path, home: os.open(os.devnull, os.O_RDONLY))
    monkeypatch.setattr(interface, "index_of", lambda name: None)
    monkeypatch.setattr(interface, "configure", too_many)
    monkeypatch.setattr(tap, "open_tap", lambda name: TAP)
    monkeypatch.setattr(tap, "open_tap_away", lambda name, nursery, path: TAP)
    monkeypatch.setattr(tap, "let_go", let_go.append)
    place = Location(make_partition("blue", netns=PLACE if is_attached else None))
    with pytest.raises(OSError, match="Too many open files"):
        kernel_ops.make_interface(place, 1500, False, "sign", lambda: -1)
    assert let_go == [TAP]
