"""Everybody who has a part in an attachment dies in each of its steps; afterwards GC leaves exactly what lives."""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import signal
import subprocess
import sys
from typing import Any

import pytest

from tests.framework.containers.machine import RuntimeMachine
from tests.framework.containers.needs import need_plugin
from tests.framework.programs import PROGRAMS
from tests.framework.waiting import wait_until
from tests.system.containers.conftest import MakeRuntimeMachine
from vnicd.cli.containers import places
from vnicd.errors import VnicdError

ADD = (
    "reserve a port",
    "check that its place is free",
    "write the state: it is being added",
    "start its daemon",
    "write the state: its process",
    "make its interface",
    "wait until its daemon is up",
    "let the uplink admit it",
    "write the state: it is a member",
    "let the broker serve it",
)
DEL = ("begin the removal", "stop its daemon", "delete its interface")
VICTIMS = ("runtime", "container", "daemon", "host")
ALL = [("ADD", step, victim) for step in ADD for victim in VICTIMS]
ALL += [("DEL", step, victim) for step in DEL for victim in VICTIMS]
SOME = [
    ("ADD", "make its interface", "runtime"),
    ("ADD", "make its interface", "container"),
    ("ADD", "make its interface", "host"),
    ("ADD", "wait until its daemon is up", "daemon"),
    ("ADD", "let the broker serve it", "container"),
    ("DEL", "stop its daemon", "container"),
    ("DEL", "delete its interface", "host"),
]
TIMEOUT_S = 20


class Trial:
    """A machine with a container that lives, and others that come and go."""

    def __init__(self, machine: RuntimeMachine) -> None:
        self.machine, self.fabric = machine, machine.fabric
        self.numbers = itertools.count(1)
        self.start_host()
        self.add_namespace("lives")
        self.done("ADD", "lives")

    def start_host(self) -> None:
        argv = [sys.executable, str(PROGRAMS / "halting.py")]
        self.host = self.machine.popen(argv, stderr=subprocess.DEVNULL, cwd="/")
        wait_until(self._is_ready, TIMEOUT_S, "the hosting daemon is ready")

    def _is_ready(self) -> bool:
        try:
            return bool(self.fabric.call("fabric.ping")["ready"])
        except (VnicdError, OSError):
            return False

    def add_namespace(self, name: str) -> None:
        self.machine.run(["ip", "netns", "add", name])

    def begin(self, command: str, container: str, **config: Any) -> subprocess.Popen[bytes]:
        about = {"cniVersion": "1.1.0", "name": "net", "type": "vnicd", **config}
        variables = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": container,
            "CNI_NETNS": f"/run/netns/{container}",
            "CNI_IFNAME": "eth0",
        }
        plugin = subprocess.Popen(
            self.machine.inside([str(places.executable())]),
            env={**self.fabric.env, **variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert plugin.stdin is not None
        plugin.stdin.write(json.dumps(about).encode())
        plugin.stdin.close()
        return plugin

    def done(self, command: str, container: str, **config: Any) -> None:
        with self.begin(command, container, **config) as plugin:
            assert plugin.stdout is not None
            output = plugin.stdout.read()
        assert plugin.returncode == 0, output

    def partitions(self) -> dict[str, dict[str, Any]]:
        found = self.fabric.call("partition.list")["partitions"]
        return {each["owner"]["cni/container"]: each for each in found}

    def attempt(self, command: str, step: str, victim: str) -> None:
        name = f"c{next(self.numbers)}"
        self.add_namespace(name)
        if command == "DEL":
            self.done("ADD", name)
        halt, halted = (self.fabric.runtime / each for each in ("halt", "halted"))
        with halt.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write(step)
            file.flush()
            plugin = self.begin(command, name)
            wait_until(halted.exists, TIMEOUT_S, f"the hosting daemon has halted: {step}")
            lives = self.kill(victim, name, plugin)
            halted.unlink()
            halt.unlink()
        with plugin:
            assert plugin.stdout is not None
            plugin.stdout.read()
        if victim == "host":
            self.start_host()
        is_attached = plugin.returncode == 0 and command == "ADD" and lives
        self.check(["lives", name] if is_attached else ["lives"])
        if is_attached:
            self.done("DEL", name)
            self.check(["lives"])
        if lives:
            links = self.machine.run(["ip", "-n", name, "-o", "link"]).stdout
            assert "eth0" not in links
            self.machine.run(["ip", "netns", "del", name])

    def kill(self, victim: str, name: str, plugin: subprocess.Popen[bytes]) -> bool:
        """Whether the container lives."""
        if victim == "runtime":
            plugin.kill()
        elif victim == "container":
            self.machine.run(["ip", "netns", "del", name])
        elif victim == "host":
            self.host.kill()
            self.host.wait()
        elif (pid := self.partitions().get(name, {}).get("pid")) is not None:
            os.kill(pid, signal.SIGKILL)
        return victim != "container"

    def check(self, living: list[str]) -> None:
        """GC leaves these, all are served, and there are no other daemons."""
        valid = [{"containerID": name, "ifname": "eth0"} for name in living]

        def is_clean() -> bool:
            self.done("GC", "", **{"cni.dev/valid-attachments": valid})
            found = self.partitions()
            pids = {each["pid"] for each in found.values()}
            up = all(each["state"] == "up" for each in found.values())
            return up and sorted(found) == sorted(living) and self.fabric.pids() == pids

        wait_until(is_clean, TIMEOUT_S, f"exactly {living} are attached")


@pytest.fixture(scope="module")
def trial(make_runtime_machine: MakeRuntimeMachine) -> Trial:
    need_plugin()
    return Trial(make_runtime_machine())


@pytest.mark.parametrize(("command", "step", "victim"), SOME)
def test_a_death_in_a_step(trial: Trial, command: str, step: str, victim: str) -> None:
    trial.attempt(command, step, victim)


@pytest.mark.slow
@pytest.mark.parametrize(("command", "step", "victim"), ALL)
def test_each_death_in_each_step(trial: Trial, command: str, step: str, victim: str) -> None:
    trial.attempt(command, step, victim)
