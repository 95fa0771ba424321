"""Leads a target by its coverage, with atheris: bytes that reach something new are kept and changed further.

    python -m tests.fuzz.guided file                    # until it finds something or is ended
    python -m tests.fuzz.guided file corpus -runs=1000  # keeps what it learns; further arguments are libFuzzer's

What is found is written to a file crash-... in the current folder, and shown again by `python -m tests.fuzz file
--input $(xxd -p -c0 crash-...)`. The native targets are no use here: what they call is compiled.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["vnicd", "tomllib"]):
    from tests.fuzz.targets import TARGETS
    from vnicd.native import netns


def main() -> None:
    name, *words = sys.argv[1:] or [""]
    if name not in TARGETS:
        sys.exit(f"there is no target {name!r}; there are {', '.join(TARGETS)}")
    if os.geteuid() == 0:
        netns.unshare()
    for folder in words:
        if not folder.startswith("-"):
            Path(folder).mkdir(parents=True, exist_ok=True)

    with TARGETS[name].open() as attempt:

        def show(data: bytes) -> None:
            attempt(data)

        atheris.Setup([sys.argv[0], f"-max_len={TARGETS[name].longest}", *words], show)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
