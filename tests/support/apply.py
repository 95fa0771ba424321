"""Declares a test's fabric: partitions by their labels, and what `vnicctl apply` tells of the changes."""

from __future__ import annotations

import re
import subprocess
from typing import Any

from tests.support.fabric import Fabric
from tests.support.partition import Partition


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
    """Whether three pings are answered; ping itself gives a late one only two round trips, once another has come."""
    return one.ping(target, "-w", "5", count=3).received >= 3


class Pings:
    """A ping at 100 per second that runs along, and which of its requests were never answered."""

    def __init__(self, one: Partition, target: str, count: int) -> None:
        self.count = count
        # With -w it waits for late answers, and asks more often until there are so many.
        argv = ["ping", "-n", "-i", "0.01", "-w", "30", "-c", str(count), target]
        self.process = one.popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def missing(self) -> set[int]:
        output = self.process.communicate()[0].decode()
        answered = {int(number) for number in re.findall(r"icmp_seq=(\d+) ttl", output)}
        assert answered, output
        return set(range(1, self.count + 1)) - answered
