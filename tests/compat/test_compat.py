"""A choice of the matrix for every day: programs that scripts/setup-tests installs, and Node.js if it is there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compat import needs
from tests.compat.cells import deaths, exchange, run_cell
from tests.compat.families.nginx import NGINX
from tests.compat.families.node import INSTALLED
from tests.compat.families.plumbing import PLUMBING
from tests.compat.families.stores import Redis
from tests.compat.families.transfer import Rsync
from tests.compat.program import Program
from tests.compat.world import World
from tests.framework.fabric import fabric
from tests.framework.sockets import direct

pytestmark = [pytest.mark.root, pytest.mark.tools]

CHOICE = [
    INSTALLED,
    *(each for each in NGINX if each.options),
    Redis(),
    Rsync(),
    *(each for each in PLUMBING if each.name in ("socat EXEC", "iperf3")),
]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    if not Path("/dev/net/tun").exists():
        pytest.skip("no /dev/net/tun")
    if not direct.LIBRARY.exists() or not fabric.VNICCTL.exists():
        pytest.skip(f"no {direct.LIBRARY}: run scripts/setup")
    with World() as made:
        yield made


def skip_without(program: Program) -> None:
    if reason := needs.lacking(program.needs):
        pytest.skip(reason)


@pytest.mark.parametrize("program", CHOICE, ids=lambda program: program.name)
@pytest.mark.parametrize("way", ["both", "server"])
def test_exchange(world: World, program: Program, way: str) -> None:
    skip_without(program)
    cell = run_cell(world, way, program.limit, lambda case: exchange(program, case))
    assert cell.is_good, f"{cell.outcome}: {cell.text}"


@pytest.mark.parametrize("program", [each for each in CHOICE if each.holds], ids=lambda program: program.name)
def test_deaths(world: World, program: Program) -> None:
    skip_without(program)
    cell = run_cell(world, "both", program.limit, lambda case: deaths(world, program, case))
    assert cell.is_good, f"{cell.outcome}: {cell.text}"
