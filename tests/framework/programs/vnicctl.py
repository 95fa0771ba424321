"""vnicctl with an extension that only notes which namespace it would have entered."""

import errno
import os
import sys
import types


def enter(path: str) -> None:
    fault = os.environ.get("FAULT")
    if fault:
        raise OSError(getattr(errno, fault), os.strerror(getattr(errno, fault)))
    os.environ["ENTERED"] = path


if place := os.environ.pop("LIBRARY", ""):
    import pathlib

    from vnicd.cli import library

    library.place = lambda: pathlib.Path(place)
    if preloaded := os.environ.pop("PRELOADED", ""):
        os.environ["LD_PRELOAD"] = preloaded
sys.modules["vnicd.native.netns"] = types.SimpleNamespace(enter=enter)
from vnicd.cli.main import main  # noqa: E402  # which imports what was just put there

sys.exit(main())
