"""Compiles the matrix's own programs: once for each state of their sources."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.compat.places import BUILD

COMPILE_TIMEOUT_S = 300


def compiled(name: str, source: Path, argv: Sequence[str], cwd: Path | None = None) -> Path:
    """The folder of what a command made of the sources; @OUT@ in the command stands for the folder."""
    files = [source] if source.is_file() else sorted(path for path in source.rglob("*") if path.is_file())
    digest = hashlib.sha256(
        b"".join(path.read_bytes() for path in files) + repr(list(argv)).encode()
    ).hexdigest()
    out = BUILD / f"made/{name}-{digest[:12]}"
    if not out.exists():
        temporary = out.with_suffix(".new")
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        command = [word.replace("@OUT@", str(temporary)) for word in argv]
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, cwd=cwd, timeout=COMPILE_TIMEOUT_S
        )
        assert done.returncode == 0, f"{argv[0]}: {done.stdout[-1000:]}{done.stderr[-2000:]}"
        temporary.rename(out)
    return out
