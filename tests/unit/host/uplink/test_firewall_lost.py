"""A firewall table that others take away is never taken for whole, and 127.0.0.1 stays shut without it."""

from __future__ import annotations

import pytest

from vnicd.host.uplink import nic_resources
from vnicd.host.uplink.nic_resources import NicResources, Wanted
from vnicd.kernel.firewall import generation, nftables
from vnicd.spec.uplink import make_uplink

TABLE = "vnicd_1"


class Kernel:
    """The table, who flushes it right before it is listed, and whether 127.0.0.0/8 is open."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.table, self.generation, self.flushes = "", 1, False
        self.is_open = False
        kernel = self

        class Loopback:
            def __init__(self, _ifname: str) -> None:
                pass

            def allow(self, on: bool) -> None:
                kernel.is_open = on

        monkeypatch.setattr(nic_resources, "Loopback", Loopback)
        monkeypatch.setattr(nic_resources, "forwards", lambda _nic: False)
        monkeypatch.setattr(nftables, "load", self.load)
        monkeypatch.setattr(nftables, "listing", self.listing)
        monkeypatch.setattr(generation, "current", lambda: self.generation)

    def load(self, script: str) -> None:
        self.table = script
        self.generation += 1

    def listing(self, _family: str, _table: str) -> str:
        if self.flushes:
            self.load("")
        return self.table


def test_a_lost_table_comes_back_and_shuts_the_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel, resources = Kernel(monkeypatch), NicResources(TABLE, ifname="vnicd0")
    spec = make_uplink("eth1", "nat", publish=["80:web:80"])
    wanted = Wanted(spec, "02:00:00:00:00:01", {}, {1: ("10.78.0.2/24",)}, {"web": 1})
    for flushes in (True, False, True, True, False):
        kernel.flushes = flushes
        resources._load_firewall(wanted, None)
        assert bool(kernel.table) is not flushes
        assert kernel.is_open is not flushes
