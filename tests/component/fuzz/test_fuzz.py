"""What hostile neighbours, programs and files may send, by chance; see `python -m tests.fuzz --help`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.libfuzzer.__main__ import why_not
from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).parents[3]
SECONDS = 1


@pytest.mark.parametrize("name", sorted(set(TARGETS) - {"ring", "frames", "guard"}))
def test_nothing_is_found(name: str) -> None:
    """For a moment, from another seed each time, which is printed."""
    if TARGETS[name].needs_root and os.geteuid() != 0:
        pytest.skip("this target needs root")
    command = [sys.executable, "-m", "tests.fuzz", name, "--seconds", str(SECONDS)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing found" in done.stdout


def run_guided(command: list[str], folder: Path) -> None:
    if "LD_PRELOAD" in os.environ:
        pytest.skip("libFuzzer has sanitizers of its own, and there are others already")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100, env=environment)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert "Done " in done.stderr, "it has come to its end"


def test_a_target_led_by_coverage(tmp_path: Path) -> None:
    pytest.importorskip("atheris", reason="atheris is not there for this Python and machine")
    run_guided([sys.executable, "-m", "tests.fuzz.guided", "file", "-runs=2000"], tmp_path)


def test_the_exchange_led_by_coverage(tmp_path: Path) -> None:
    if problem := why_not():
        pytest.skip(problem)
    run_guided([sys.executable, "-m", "tests.fuzz.libfuzzer", "-max_total_time=2"], tmp_path)
