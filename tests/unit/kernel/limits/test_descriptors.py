"""Descriptors that are left, and those of other processes."""

from __future__ import annotations

import os
import resource

import pytest

from tests.framework.descriptors import no_more_descriptors, open_fds
from vnicd.errors import Resources
from vnicd.kernel.limits import descriptors
from vnicd.kernel.limits.descriptors import Usage


def test_room_is_what_can_be_had_and_nothing_stays_open() -> None:
    before = open_fds()
    with no_more_descriptors(left=8):
        rooms = descriptors.has_room(8), descriptors.has_room(9)
        with pytest.raises(Resources, match="too many open files: a test takes up to 9"):
            descriptors.check_room(9, "a test")
    assert rooms == (True, False)
    assert open_fds() == before


def test_usage_of_a_process() -> None:
    found = descriptors.usage(os.getpid())
    assert found is not None
    assert found.limit == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    with open("/dev/null") as one, open("/dev/null") as other:
        more = descriptors.usage(os.getpid())
        assert more is not None and one is not other
        assert more.used == found.used + 2
    assert descriptors.usage(2**22 + 1) is None


@pytest.mark.parametrize(
    ("used", "limit", "near"), [(100, 1024, False), (820, 1024, True), (20, 64, True), (60000, 65536, True)]
)
def test_near_the_limit(used: int, limit: int, near: bool) -> None:
    assert Usage(used, limit).is_near is near
