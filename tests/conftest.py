"""For all tests: what their markers mean, and that the asserts in what they share explain themselves."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

pytest.register_assert_rewrite("tests.framework")

from tests.framework.options import LONG  # noqa: E402  # its asserts are to be rewritten as well

TESTS = Path(__file__).parent

for _number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
    # A job of a shell's background has them ignored, and so would have all that tests start.
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)

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
