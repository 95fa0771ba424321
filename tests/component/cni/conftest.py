"""The plugin, and what it asks a hosting daemon that answers what a test tells it to."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.framework.control.fakehost import FakeHost, partition
from vnicd.errors import NotFound, VnicdError

PLUGIN = Path(__file__).parents[3] / "vnicd/libexec/vnicd-cni"

MADE = partition(
    "c1-45cfdc8710065183", 1, gateways=["10.77.0.254"], routes=["10.9.0.0/16 via 10.77.0.9"], dns=None
)
"""What partition.add answers."""


@dataclass
class Plugin:
    """One caller of the plugin, for container c1 in network net."""

    root: Path
    host: FakeHost
    environment: dict[str, str] = field(default_factory=dict)

    def run(self, command: str, stdin: str | None = None, **config: Any) -> tuple[int, Any]:
        """The exit code, and what it printed; None when that is nothing."""
        words = {"cniVersion": "1.0.0", "name": "net", "type": "vnicd", "runtimeDir": str(self.root)}
        given = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": "c1",
            "CNI_NETNS": "/run/netns/c1",
            "CNI_IFNAME": "eth0",
            "CNI_PATH": str(self.root),
        }
        done = subprocess.run(
            [PLUGIN],
            input=json.dumps({**words, **config}) if stdin is None else stdin,
            env={"PATH": os.environ["PATH"], **given, **self.environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert not done.stderr
        return done.returncode, json.loads(done.stdout) if done.stdout else None

    def fails(self, command: str, code: int, **config: Any) -> str:
        """The message of an error with this code."""
        status, printed = self.run(command, **config)
        assert (status, printed["code"]) == (1, code), printed
        return str(printed["msg"])

    def asked(self, method: str) -> list[dict[str, Any]]:
        """The parameters of all requests for a method."""
        return [params for name, params in self.host.requests if name == method]

    def ipam(self, *answers: str, exit_code: int = 0) -> Path:
        """Make an IPAM plugin `pool` that prints an answer, and notes what it was called for in the file returned."""
        log = self.root / "calls"
        script = self.root / "pool"
        lines = "".join(f"{each}\n" for each in answers)
        body = f"echo $CNI_COMMAND $CNI_CONTAINERID $CNI_IFNAME >>{log}\ncat >>{log}.in\n"
        script.write_text(f"#!/bin/sh\n{body}cat <<'END'\n{lines}END\nexit {exit_code}\n")
        script.chmod(0o755)
        return log


@pytest.fixture
def plugin(tmp_path: Path) -> Iterator[Plugin]:
    if not PLUGIN.exists():
        pytest.skip("vnicd-cni was not built here")
    answers: dict[str, dict[str, Any] | VnicdError | Callable[..., Any]] = {
        "partition.add": MADE,
        "partition.set": MADE,
        "partition.show": NotFound("there is no such partition"),
        "partition.remove": {},
        "publish.add": {"published": []},
    }
    host = FakeHost(tmp_path / "control.sock", answers)
    yield Plugin(tmp_path, host)
    host.close()
