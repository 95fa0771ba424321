"""A change of a partition that fails is undone, whatever of it the kernel has taken over."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from vnicd.config import Options, Paths
from vnicd.errors import VnicdError
from vnicd.host.fabric import Fabric
from vnicd.host.partitions import kernel_ops
from vnicd.host.ports.port import Following, Location
from vnicd.spec.partition import PartitionSpec, make_partition


def test_a_half_changed_mtu_is_set_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interface = {"mtu": 1500}

    def change(old: PartitionSpec, place: Location, wanted: Following, have: Following | None) -> None:
        if have is None or wanted.mtu != have.mtu:
            interface["mtu"] = wanted.mtu
        if wanted.mtu == 9000:
            raise VnicdError("the kernel refuses the settings")

    async def work() -> None:
        fabric = Fabric(Paths(tmp_path), Options(), lambda: None)
        port = fabric.ports.reserve(make_partition("blue"))
        port.added()
        with pytest.raises(VnicdError, match="refuses"):
            await fabric.reconfiguration.reconfigure(port, replace(port.spec, mtu=9000))
        assert interface == {"mtu": 1500} and port.spec.mtu == 0
        fabric.actions.close()

    monkeypatch.setattr(kernel_ops, "reconfigure", change)
    asyncio.run(work())
