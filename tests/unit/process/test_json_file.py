"""A file of JSON is the new one or the old one."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from vnicd.errors import Resources
from vnicd.process import json_file


def test_the_old_one_stands_when_the_new_one_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state.json"
    json_file.write(path, {"number": 1})

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Resources, match=r"state.json can't be written: No space left"):
        json_file.write(path, {"number": 2})
    assert json.loads(path.read_text()) == {"number": 1}
    assert [each.name for each in tmp_path.iterdir()] == ["state.json"]


def test_it_is_prepared_before_anything_is_in_it(tmp_path: Path) -> None:
    sizes: list[int] = []
    json_file.write(tmp_path / "state.json", {}, lambda fd: sizes.append(os.fstat(fd).st_size))
    assert sizes == [0]
