"""Builds the libFuzzer targets with clang, and runs them."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[2]
FLAGS = [
    "-O1",
    "-g",
    "-std=gnu11",
    "-D_GNU_SOURCE",
    "-Wall",
    "-Wextra",
    "-Wno-unused-function",
    f"-I{ROOT / 'cext'}",
]
SANITIZERS = "-fsanitize=fuzzer,address,undefined"
LONGEST = 400
SECONDS = 30


def why_not() -> str:
    """Why there can be none on this machine; empty when there can."""
    if shutil.which("clang") is None:
        return "clang is not installed"
    asked = subprocess.run(["clang", "-print-resource-dir"], capture_output=True, text=True, check=True)
    has_library = any(Path(asked.stdout.strip()).rglob("libclang_rt.fuzzer*.a"))
    return "" if has_library else "clang has no libFuzzer: install libclang-rt-dev"


def build(into: Path) -> Path:
    """The fuzzer of the exchange."""
    program = into / "exchange"
    source = FOLDER / "exchange.c"
    subprocess.run(["clang", *FLAGS, SANITIZERS, str(source), "-o", str(program), "-pthread"], check=True)
    return program


def main() -> int:
    if problem := why_not():
        print(problem, file=sys.stderr)
        return 1
    words = [word for word in sys.argv[1:] if word != "--"] or [f"-max_total_time={SECONDS}"]
    with tempfile.TemporaryDirectory() as folder:
        return subprocess.run([build(Path(folder)), f"-max_len={LONGEST}", *words]).returncode


if __name__ == "__main__":
    sys.exit(main())
