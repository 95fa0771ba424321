"""Fixtures of vnicctl's tests: a `vnicd` that pretends."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

FAKE_VNICD = [sys.executable, "-m", "tests.framework.control.fakevnicd"]


@pytest.fixture
def record(tmp_path: Path) -> Path:
    """Where the `vnicd` that pretends tells how it was started."""
    return tmp_path / "record.json"


@pytest.fixture
def fabric_dir(tmp_path: Path, record: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A runtime directory which is not there yet, for a `vnicd` that pretends and that ends with the test."""
    directory = tmp_path / "run"
    monkeypatch.setenv("VNICD_RUNTIME_DIR", str(directory))
    monkeypatch.setenv("FAKE_VNICD_RECORD", str(record))
    monkeypatch.delenv("VNICD_DEBUG", raising=False)
    monkeypatch.setattr("vnicd.cli.process.command", lambda *words: [*FAKE_VNICD, *words])
    monkeypatch.setattr("os.geteuid", lambda: 0)
    yield directory
    if record.exists():
        with suppress(ProcessLookupError):
            os.kill(json.loads(record.read_text())["pid"], signal.SIGTERM)
