"""What became of the rows, kept between runs in a file for each library."""

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


def file_of(library: Path, kind: str = "programs") -> Path:
    """The file for what was found with this very library."""
    digest = hashlib.sha256(library.read_bytes()).hexdigest()
    return RESULTS / f"{kind}-{digest[:16]}.json"


def load(file: Path) -> Rows:
    """The rows of earlier runs with the library of this file."""
    try:
        document: dict[str, Any] = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return {
        name: Row(row["version"], row["skipped"], {key: Cell(**cell) for key, cell in row["cells"].items()})
        for name, row in document.items()
    }


def save(file: Path, rows: Rows) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({name: asdict(row) for name, row in rows.items()}, indent=1))
