"""What a soak works on: a machine with a NIC, a fabric in it, and what should be there at any time."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path
from random import Random

from tests.framework.fabric.fabric import Fabric
from tests.framework.fabric.partition import Partition
from tests.framework.traffic.echo import Way
from tests.framework.uplink.uplink import REMOTE, Machine
from tests.framework.waiting import wait_until

IDLE = 4
"""Seconds after which a link that carried nothing is given back: short, so that it happens often."""

REVIVED = 10.0
"""Seconds that everything has to be as it should be again."""


@dataclass
class World:
    machine: Machine
    random: Random
    declared: dict[str, Partition] = field(default_factory=dict)
    """By label, what should be there."""
    uplink: str = ""
    """The mode of the uplink; empty when none is set."""
    made: int = 0
    """Partitions made so far, from which their names follow."""

    @classmethod
    def build(cls, seed: int) -> World:
        tag = f"{os.getpid() % 100_000}s"
        machine = Machine(Path(f"/run/vnicd-soak-{os.getpid()}"), tag)
        return cls(machine, Random(seed))

    @property
    def fabric(self) -> Fabric:
        return self.machine.fabric

    @property
    def file(self) -> Path:
        """Where a declared fabric is written."""
        return self.fabric.runtime.with_suffix(".toml")

    @property
    def labels(self) -> list[str]:
        return sorted(self.declared)

    @property
    def partitions(self) -> list[Partition]:
        return [self.declared[label] for label in self.labels]

    def start(self) -> None:
        self.machine.build()
        self.up()

    def up(self) -> None:
        self.fabric.up("--idle-timeout", str(IDLE))

    def close(self) -> None:
        """Takes all down; AssertionError when something stays behind."""
        self.file.unlink(missing_ok=True)
        self.machine.close()

    # -------------------------------------------------------------------------------------- partitions

    def fresh(self) -> tuple[str, tuple[str, ...]]:
        """A label that was not used yet, and addresses for it: of the inner, and of the outer network."""
        self.made += 1
        number = 10 + self.made % 200
        return f"p{self.made}", (f"10.0.0.{number}/24", f"2001:db8::{number}/64")

    def add(self, label: str, addresses: tuple[str, ...], rate: str = "") -> None:
        options: dict[str, object] = {"gateway": tuple(address.split("/")[0] for address in REMOTE)}
        if rate:
            options["rate"] = rate
        self.declared[label] = self.fabric.add(label, *addresses, **options)

    def remove(self, label: str) -> None:
        self.fabric.cli("partition", "remove", self.fabric.name(label))
        self.forget(label)

    def forget(self, label: str) -> None:
        self.declared.pop(label, None)

    def adopt(self, label: str) -> None:
        """It was made in another way."""
        self.declared[label] = self.fabric.partition(label)

    def some(self, most: int = 3) -> list[Partition]:
        """A random choice of partitions, at least one."""
        return self.random.sample(self.partitions, min(len(self.declared), self.random.randint(1, most)))

    def two(self) -> tuple[Partition, Partition]:
        one, other = self.random.sample(self.partitions, 2)
        return one, other

    # ----------------------------------------------------------------------------------------- daemons

    def kill(self, pid: int, number: int = signal.SIGKILL) -> None:
        """Ends a daemon of ours and sees to it that it is gone."""
        os.kill(pid, number)
        wait_until(lambda: pid not in self.fabric.pids(), 10, f"process {pid} is gone")

    # -------------------------------------------------------------------------------------------- ways

    def ways(self) -> list[Way]:
        """Everybody who must reach somebody: all pairs, and with an uplink the outside and the machine."""
        pairs = list(permutations(self.partitions, 2))
        found = [(one, address) for one, other in pairs for address in (other.ip, other.ip6)]
        here, remote = self.machine.here, self.machine.remote
        found.append((here, remote.ip))
        if self.uplink in ("bridge", "shared"):
            for each in self.partitions:
                found += [
                    (each, remote.ip),
                    (each, remote.ip6),
                    (remote, each.ip),
                    (here, each.ip),
                    (each, here.ip),
                ]
        return found
