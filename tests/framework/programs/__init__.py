"""Programs that tests run, here or in a partition; in files of their own, so that linters see them."""

from pathlib import Path

PROGRAMS = Path(__file__).parent
