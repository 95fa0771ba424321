"""What is said of a namespace that can't be entered."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vnicd.errors import NoNamespace
from vnicd.kernel import netns


def refusal(path: str) -> str:
    with pytest.raises(NoNamespace) as caught:
        netns.inside(path, lambda: None)
    return caught.value.line()


def test_a_process_is_no_name_of_a_namespace() -> None:
    path = f"/run/netns/{os.getpid()}"
    assert refusal(path) == (
        f"there is no network namespace at {path}; for a process: --netns /proc/{os.getpid()}/ns/net"
    )
    assert refusal("/run/netns/no-such") == "there is no network namespace at /run/netns/no-such"


def test_the_reason_of_the_kernel(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert refusal(str(tmp_path / "file")) == f"there is no network namespace at {tmp_path / 'file'}"
    denied = PermissionError(13, "Permission denied")
    assert netns.not_entered("/proc/1/ns/net", denied).line() == (
        "the network namespace /proc/1/ns/net can't be entered: Permission denied"
    )
