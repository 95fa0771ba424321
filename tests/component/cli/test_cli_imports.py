"""vnicctl starts quickly: its quick commands import little."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["groups.partition", "groups.uplink", "exec"])
def test_quick_commands_import_little(module: str) -> None:
    code = (
        f"import sys, vnicd.cli.app, vnicd.cli.commands.{module}, vnicd.spec.partition; print(*sys.modules)"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"rich", "asyncio", "subprocess", "pyroute2", "importlib.metadata"} & set(loaded)
