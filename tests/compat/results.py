"""What became of the rows, kept in a file between runs as long as the library is the same."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.compat.cells import Cell
from tests.compat.places import RESULTS


@dataclass
class Row:
    """A program's version and cells; `skipped` says why there are none."""

    version: str = ""
    skipped: str = ""
    cells: dict[str, Cell] = field(default_factory=dict)

    @property
    def is_good(self) -> bool:
        return all(cell.is_good for cell in self.cells.values())


Rows = dict[str, Row]


def fingerprint(library: Path) -> str:
    return hashlib.sha256(library.read_bytes()).hexdigest()


def load(library: Path) -> Rows:
    """The rows of earlier runs with this library."""
    try:
        document: dict[str, Any] = json.loads(RESULTS.read_text())
    except (OSError, ValueError):
        return {}
    if document.get("library") != fingerprint(library):
        return {}
    return {
        name: Row(row["version"], row["skipped"], {key: Cell(**cell) for key, cell in row["cells"].items()})
        for name, row in document["rows"].items()
    }


def save(library: Path, rows: Rows) -> None:
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    document = {"library": fingerprint(library), "rows": {name: asdict(row) for name, row in rows.items()}}
    RESULTS.write_text(json.dumps(document, indent=1))
