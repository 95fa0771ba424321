"""Files of JSON that are whole, whenever their writer or the machine ends."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from vnicd.errors import Resources


def write(path: Path, document: dict[str, Any], prepare: Callable[[int], object] | None = None) -> None:
    """Replace the file; Resources when it can't be written, and then the old one stands.

    `prepare` is given the new file's descriptor while the file is empty, to say who may read it.
    """
    scratch = path.with_suffix(".new")
    try:
        with scratch.open("w") as file:
            if prepare is not None:
                prepare(file.fileno())
            json.dump(document, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    except OSError as error:
        with suppress(OSError):  # the first error tells more
            scratch.unlink()
        raise Resources(f"{path} can't be written: {error.strerror}") from error
