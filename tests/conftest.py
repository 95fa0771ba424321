"""For all tests: what their markers mean, and that the asserts in what they share explain themselves."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

pytest.register_assert_rewrite("tests.framework")

from tests.framework.options import LONG  # noqa: E402  # its asserts are to be rewritten as well

TESTS = Path(__file__).parent

settings.register_profile("busy", deadline=None)  # how long an example takes says how busy the machine is
settings.load_profile("busy")

OF_ROOT = {"system", "service"}
"""Tiers all of whose tests are root's."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests of root's are skipped for others; those that take minutes are left out unless VNICD_LONG is set."""
    for item in items:
        if item.path.is_relative_to(TESTS) and item.path.relative_to(TESTS).parts[0] in OF_ROOT:
            item.add_marker("root")
        if os.geteuid() != 0 and item.get_closest_marker("root"):
            item.add_marker(pytest.mark.skip(reason="not root"))
    if not LONG:
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("slow")])
        items[:] = [item for item in items if not item.get_closest_marker("slow")]
