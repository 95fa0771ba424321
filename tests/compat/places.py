"""Where the matrix keeps what it installs and builds, and where its programs' sources are."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(__file__).parent / "programs"
BUILD = ROOT / "build/compat"
VENV = BUILD / "venv"
NODE_MODULES = BUILD / "node/node_modules"
RESULTS = BUILD / "results"
"""A file for each library."""
DOCUMENT = ROOT / "docs/reference/compatibility.md"
