"""Processes of other users that call themselves daemons of a fabric: nobody takes them for one."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.framework.fabric.fabric import Fabric
from tests.framework.waiting import wait_for_output
from vnicd.host.partitions import leftovers

NOBODY = "65534"
PRETENDS = 'print("here", flush=True)\ninput()\n'


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that every user can enter; those of tmp_path are root's alone."""
    with tempfile.TemporaryDirectory(prefix="vnicd-test-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.parametrize(
    "words",
    [["host"], ["partition", "ghost"], ["partition", "\x1b[2Jghost\nok  fine"], ["partition", ""]],
    ids=repr,
)
def test_another_users_process_is_no_daemon(fabric: Fabric, place: Path, words: list[str]) -> None:
    """It may have the fabric's runtime directory in its environment, and any words at all."""
    fabric.up()
    place.joinpath("vnicd.py").write_text(PRETENDS)
    before = leftovers.daemons(fabric.runtime)
    assert len(before) == 1
    command = ["setpriv", f"--reuid={NOBODY}", "--clear-groups", "env"]
    command += [f"VNICD_RUNTIME_DIR={fabric.runtime}", "/usr/bin/python3", "-m", "vnicd", *words]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, bufsize=0, cwd=place) as process:
        assert process.stdout
        wait_for_output(process.stdout, b"here", 10)
        assert leftovers.daemons(fabric.runtime) == before
        told = fabric.cli("doctor", check=False).stdout
        assert "ghost" not in told and "\x1b" not in told
        process.kill()


def test_the_fabrics_own_are_found(fabric: Fabric) -> None:
    """Whatever user they have become."""
    fabric.up()
    blue = fabric.add("blue", "10.77.0.1/24")
    found = {each.pid: each.partition for each in leftovers.daemons(fabric.runtime)}
    assert found[blue.pid] == blue.name
    assert sorted(found.values()) == sorted(["", blue.name])
