"""What a partition's owner manages, a file leaves alone."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.framework.fabric.fabric import Fabric


def names(fabric: Fabric, *options: str) -> set[str]:
    return {each["name"] for each in fabric.json("partition", "list", *options)["partitions"]}


def test_a_file_leaves_alone_what_somebody_else_manages(fabric: Fabric, tmp_path: Path) -> None:
    fabric.up()
    job = fabric.add("job", "10.95.0.1/24", owner=("app=batch", "run=7"))
    own = fabric.add("own", "10.95.0.2/24")
    assert (
        names(fabric, "--owner", "app")
        == names(fabric, "--owner", "app=batch", "--owner", "run=7")
        == {job.name}
    )
    assert names(fabric, "--owner", "app=web") == set()
    assert job.info["owner"] == {"app": "batch", "run": "7"}

    file = tmp_path / "fabric.toml"
    file.write_text(f'[partitions."{fabric.name("filed")}"]\naddresses = ["10.95.0.3/24"]\n')
    pid = job.pid
    fabric.cli("apply", str(file))
    assert names(fabric) == {job.name, fabric.name("filed")}
    assert own.name not in names(fabric)
    os.kill(fabric.host_pid(), signal.SIGKILL)
    fabric.up()
    assert job.info["owner"] == {"app": "batch", "run": "7"}
    assert job.pid == pid
    assert job.name not in fabric.cli("config", "export").stdout

    file.write_text(f'[partitions."{job.name}"]\naddresses = ["10.95.0.4/24"]\n')
    refused = fabric.cli("apply", str(file), check=False)
    assert refused.returncode == 16
    (why,) = [line for line in refused.stdout.splitlines() if "can't be made" in line]
    assert f"{job.name} belongs to app=batch, run=7; take it out of the file, or: vnicctl" in why
    assert job.pid == pid
