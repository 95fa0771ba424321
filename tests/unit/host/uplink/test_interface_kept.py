"""Port 0's interface is given up for a new one alone, and not for what can't be looked at."""

from __future__ import annotations

import errno

import pytest

from tests.framework.descriptors import no_more_descriptors
from vnicd.errors import Unsupported
from vnicd.host.uplink.nic_resources import NicResources, Wanted
from vnicd.kernel import interface, tap, vnic
from vnicd.spec.uplink import make_uplink

WANTED = Wanted(make_uplink(None, "none", addresses=["10.77.0.254/24"]), "02:00:00:00:00:01", {}, {}, {})


def test_an_interface_that_no_descriptor_can_ask_for() -> None:
    assert interface.index_of("lo") == 1
    assert interface.index_of("no-such") is interface.index_of("") is interface.index_of("x" * 16) is None
    with no_more_descriptors(), pytest.raises(OSError) as caught:
        interface.index_of("lo")
    assert caught.value.errno == errno.EMFILE


def test_it_stays_where_no_other_can_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is retired is closed after the next success, and an interface of ours goes with its descriptor."""

    def make() -> tuple[int, str]:
        raise Unsupported("no TAP device can be made: Too many open files")

    monkeypatch.setattr(tap, "name_of", lambda fd: "no-such")
    monkeypatch.setattr(vnic, "make_vnic", make)
    resources = NicResources("vnicd_1", vnic=7)
    with pytest.raises(Unsupported):
        resources._make_vnic(WANTED, None)
    assert (resources.vnic, resources.retired) == (7, [])
