"""Limits of the machine: raised while a fabric runs, as they were after the last one, also after a kill."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.framework.fabric.fabric import Fabric
from tests.framework.fabric.machine import daemons
from vnicd.kernel.limits import neighbours

LIMITS = [limit.limit for limit in neighbours.limits() if limit.limit.exists()]
LEAST = {limit.limit: limit.least for limit in neighbours.limits()}


@pytest.mark.skipif(not LIMITS, reason="this kernel shows no neighbour thresholds")
def test_neighbour_thresholds(fabric: Fabric) -> None:
    alone = not daemons()
    before = {path: int(path.read_text()) for path in LIMITS}
    fabric.up()
    assert all(int(path.read_text()) >= LEAST[path] for path in LIMITS)
    os.kill(fabric.host_pid(), signal.SIGKILL)
    fabric.up()
    fabric.down()
    if alone:  # otherwise another fabric on this machine keeps them
        assert {path: int(path.read_text()) for path in LIMITS} == before
        assert not list(Path("/run").glob("vnicd-*.lock"))
