"""What an end is taken for, by what the hosting daemon tells of its port."""

from __future__ import annotations

from typing import Any

import pytest

from vnicd.check import investigate

PORT: dict[str, Any] = {
    "name": "blue", "state": "up", "ifname": "vnic0", "netns": "/run/netns/blue", "netns_owned": True,
}  # fmt: skip


@pytest.mark.parametrize(
    ("actual", "ifname"),
    [
        (None, "vnic0"),
        ({"ifname": "vnic0"}, "vnic0"),
        ({"ifname": "eth0"}, "eth0"),
        ({"ifname": "$(id)"}, "vnic0"),
    ],
)
def test_an_interface_is_what_it_is_called_by_now(actual: dict[str, Any] | None, ifname: str) -> None:
    assert investigate._end({**PORT, "actual": actual}).ifname == ifname


def test_a_namespace_that_nobody_is_in_is_no_strangers() -> None:
    end = investigate._end({**PORT, "netns": "/proc/1/ns/net", "netns_inode": 1})
    assert (end.netns, end.missing) == ("", "the namespace of blue can't be reached: no process is in it")
