"""A namespace that ends while changes are checked is an obstacle, and no fault of ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from vnicd.errors import NoNamespace
from vnicd.host.survey import Survey
from vnicd.kernel import netns
from vnicd.spec.partition import make_partition


def test_a_namespace_that_could_be_entered_just_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(netns, "inside", lambda path, work: set())
    spec = make_partition("blue", netns="/proc/4194304/ns/net")
    found = Survey(tmp_path, known=(), new=(spec,)).run()
    assert [type(error) for error in found.places.values()] == [NoNamespace]
