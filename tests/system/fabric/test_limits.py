"""Limits of the machine: raised while a fabric runs, as they were after the last one, also after a kill."""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path

import pytest

from tests.framework.fabric.fabric import Fabric
from tests.framework.fabric.machine import daemons
from tests.framework.fabric.namespaces import named
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


def test_a_host_near_its_limit_of_descriptors_refuses_what_is_new(fabric: Fabric) -> None:
    fabric.up()
    one, other = fabric.add("a", "10.89.0.1/24"), fabric.add("b", "10.89.0.2/24")
    host = fabric.host_pid()
    limits = resource.prlimit(host, resource.RLIMIT_NOFILE)
    used = len(list(Path(f"/proc/{host}/fd").iterdir()))
    resource.prlimit(host, resource.RLIMIT_NOFILE, (used + 8, limits[1]))
    done = fabric.cli("partition", "add", fabric.name("c"), "--address", "10.89.0.3/24", check=False)
    assert (done.returncode, "too many open files" in done.stderr) == (14, True), done.stderr
    assert [each["name"] for each in fabric.call("partition.list")["partitions"]] == [one.name, other.name]
    assert fabric.name("c") not in named()
    (found,) = [
        check for check in fabric.doctor() if check["name"] == "descriptors" and check["status"] == "warn"
    ]
    assert f"pid {host}" in found["detail"]
    assert one.ping(other.ip).lost == 0
    assert "Traceback" not in (fabric.runtime / "log" / "host.log").read_text()
    resource.prlimit(host, resource.RLIMIT_NOFILE, limits)
    fabric.add("c", "10.89.0.3/24")
    assert not [check for check in fabric.doctor() if str(host) in check["detail"]]
