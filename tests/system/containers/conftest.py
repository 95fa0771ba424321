"""Fixtures of the tests with container runtimes: a machine with a running fabric, and podman in it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest

from tests.framework.containers.machine import RuntimeMachine
from tests.framework.containers.needs import PODMAN, need
from tests.framework.containers.podman import Podman
from tests.system import conftest as system

MakeRuntimeMachine = Callable[[], RuntimeMachine]

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def make_runtime_machine() -> Iterator[MakeRuntimeMachine]:
    """Makes machines for container runtimes that live until the end of the module; their fabrics are not started."""
    with system.closing_fabrics() as add:

        def make() -> RuntimeMachine:
            number = next(_numbers)
            machine = RuntimeMachine(system.BASE / f"c{number}", f"{system.TAG}c{number}")
            add(machine.fabric, machine.close)
            return machine.build()

        yield make


@pytest.fixture(scope="module")
def runtime_machine(make_runtime_machine: MakeRuntimeMachine) -> RuntimeMachine:
    """A machine with a running fabric, which the tests of a module share."""
    machine = make_runtime_machine()
    machine.fabric.up()
    return machine


@pytest.fixture(scope="module")
def podman(request: pytest.FixtureRequest) -> Podman:
    """Podman in the module's machine."""
    need(*PODMAN)
    return Podman(request.getfixturevalue("runtime_machine"))
