"""The processes that vnicctl starts: `vnicd ...` with the same code and fabric as vnicctl's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import vnicd
from vnicd.config import Paths
from vnicd.errors import BY_CODE, Resources, VnicdError
from vnicd.protocol import log_line

_PREFIX = "vnicd: "
_BY_EXIT_CODE = {cls.exit_code: cls for cls in BY_CODE.values()}


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "vnicd", *words]


def start(words: list[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
    """Starts a daemon that outlives vnicctl and its terminal."""
    return subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        close_fds=True,
        start_new_session=True,
        cwd=_code_directory(),
        env=_environment(),
    )


def run(words: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        cwd=_code_directory(),
        env=_environment(),
    )


def findings(*words: str) -> list[dict[str, Any]]:
    """What `vnicd WORDS` has found."""
    found: list[dict[str, Any]] = document(*words)["checks"]
    return found


def document(*words: str) -> dict[str, Any]:
    """What `vnicd WORDS` prints, which is JSON."""
    done = run(command(*words))
    try:
        printed: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        raise failure(f"vnicd {words[0]}", done.returncode, done.stderr) from None
    return printed


def failure(what: str, exit_code: int, stderr: str) -> VnicdError:
    """The error of a process that failed: its last line and its exit code."""
    lines = [line for line in stderr.splitlines() if line.strip()]
    said = log_line.parse(lines[-1]).text.removeprefix(_PREFIX) if lines else ""
    if exit_code < 0:
        return VnicdError(f"{what} was killed by signal {-exit_code}", said)
    if not said and exit_code == Resources.exit_code:
        said = f"{what} could not even write its log: No space left, or too little of something else"
    error = _BY_EXIT_CODE.get(exit_code, VnicdError)(
        said or f"{what} exited with {exit_code}, saying nothing"
    )
    # Zero is no success for a process that should not have ended.
    error.exit_code = exit_code or VnicdError.exit_code
    return error


def _code_directory() -> Path:
    """Where `python -m` looks first: at the code of this vnicctl, never in whatever directory is current."""
    return Path(vnicd.__file__).resolve().parent.parent


def _environment() -> dict[str, str]:
    return {**os.environ, "VNICD_RUNTIME_DIR": str(Paths.from_environment().root)}
