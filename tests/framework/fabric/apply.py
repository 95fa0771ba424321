"""Declares a test's fabric: partitions by their labels, and what `vnicctl apply` tells of the changes."""

from __future__ import annotations

import json
import re
import subprocess
from typing import Any

from tests.framework.fabric.fabric import Fabric
from tests.framework.fabric.partition import Partition


def text_for(fabric: Fabric, text: str) -> str:
    """A file's text in which @web stands for the partition that the fabric calls web."""
    return re.sub(r"@(\w+)", lambda match: fabric.name(match[1]), text)


def apply(fabric: Fabric, text: str, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """The finished `vnicctl apply` of a text."""
    path = fabric.runtime / "declared.toml"
    path.write_text(text_for(fabric, text))
    try:
        return fabric.cli("apply", str(path), *words, check=check)
    finally:
        path.unlink()


def lines(fabric: Fabric, text: str, *words: str) -> list[str]:
    """What it prints, with labels again for names."""
    return apply(fabric, text, *words).stdout.replace(f"-{fabric.tag}", "").splitlines()


def untouched(fabric: Fabric, *labels: str) -> list[tuple[Any, ...]]:
    """What would differ had a partition been made anew."""
    shown = [fabric.call("partition.show", name=fabric.name(label)) for label in labels]
    return [(each["port"], each["pid"], each["generation"], each["mac"], each["restarts"]) for each in shown]


def reaches(one: Partition, target: str) -> bool:
    return one.ping(target, count=3).lost == 0


def there(netns: str) -> set[str]:
    """The addresses that the interface of a partition has in fact."""
    command = ["nsenter", f"--net={netns}", "ip", "-j", "addr", "show", "dev", "vnic0"]
    (link,) = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return {f"{each['local']}/{each['prefixlen']}" for each in link["addr_info"] if each["scope"] == "global"}
