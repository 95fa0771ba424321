"""Without descriptors nobody knows what there is: nothing is told to be gone, and nothing is given up for it."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.framework.descriptors import no_more_descriptors, open_fds
from vnicd.host.broker.service import BrokerService
from vnicd.host.partitions import kernel_ops
from vnicd.host.partitions.attached import tenants
from vnicd.host.ports.port import Location, Port, Ports, Stage
from vnicd.kernel import netns, tap
from vnicd.kernel.netns import Home
from vnicd.spec.partition import make_partition

HOME = Home(4, 4026532000, 7)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """What could be the name of a namespace."""
    (tmp_path / "blue").touch()
    return tmp_path / "blue"


def observe(place: Path) -> object:
    return kernel_ops.observe(Location(make_partition("blue", netns=str(place)), home=HOME), False)


@pytest.mark.parametrize(
    ("look", "left"),
    [
        (lambda place: netns.exists(str(place)), 0),
        (lambda place: netns.hold(str(place), HOME), 0),
        (lambda place: netns.hold(str(place), HOME), 1),
        (observe, 0),
        (observe, 1),
        (lambda place: list(tenants._names()), 0),
    ],
)
def test_a_namespace_is_not_gone(place: Path, left: int, look: Callable[[Path], object]) -> None:
    """Or what is in it would be made anew elsewhere, or the partition would end."""
    before = open_fds()
    with no_more_descriptors(left), pytest.raises(OSError) as caught:
        look(place)
    assert caught.value.errno == errno.EMFILE
    assert open_fds() == before


def no_namespace(fd: int) -> int:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def test_an_interface_is_not_gone(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tap, "namespace", no_namespace)
    for look in (
        lambda: tap.whereabouts(7),
        lambda: tap.is_in(7, str(place)),
        lambda: kernel_ops.observe(Location(make_partition("blue", netns=str(place)), 7, HOME), False),
    ):
        with pytest.raises(OSError, match="Too many open files"):
            look()


def test_direct_sockets_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A partition that is left out of what the broker follows would lose them."""
    monkeypatch.setattr(tap, "namespace", no_namespace)

    async def run() -> None:
        ports = Ports("/run/x")
        ports.insert(Port(make_partition("blue", ["10.77.0.1/24"]), 1, Stage.MEMBER)).tap = 7
        service = BrokerService.__new__(BrokerService)
        service.ports = ports
        await service.look()  # which follows nobody
        with ExitStack() as stack, pytest.raises(OSError, match="Too many open files"):
            service._places(stack)

    asyncio.run(run())
