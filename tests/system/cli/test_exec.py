"""`vnicctl exec`: the command's own exit code, signals, input and output."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from tests.framework.fabric.fabric import Fabric
from tests.framework.waiting import wait_for_output
from tests.system.conftest import Pair


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (["true"], 0),
        (["false"], 1),
        (["sh", "-c", "exit 42"], 42),
        (["sh", "-c", "exit 255"], 255),
        (["sh", "-c", "sh -c 'kill -TERM $$'; exit $?"], 128 + signal.SIGTERM),
        (["no-such-command"], 127),
        (["/no/such/command"], 127),
        (["/etc/passwd"], 126),
        (["/etc"], 126),
    ],
)
def test_exit_codes(shared: Fabric, pair: Pair, argv: list[str], code: int) -> None:
    done = shared.cli("exec", pair[0].name, "--", *argv, check=False)
    assert done.returncode == code
    if code in (126, 127):
        assert done.stderr.startswith("vnicctl: ")
        assert done.stderr.count("\n") == 1


def test_no_such_partition(shared: Fabric, pair: Pair) -> None:
    assert pair
    done = shared.cli("exec", shared.name("nobody"), "--", "true", check=False)
    assert done.returncode == 125
    assert shared.name("nobody") in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_signals_pass_on(shared: Fabric, pair: Pair, number: signal.Signals) -> None:
    """The command is what gets the signal, and what vnicctl's end tells of."""
    argv = ["sh", "-c", "echo ready; exec sleep 60"]
    process = shared.popen_cli("exec", pair[0].name, "--", *argv, stdout=subprocess.PIPE)
    assert process.stdout
    wait_for_output(process.stdout, b"ready", 10)
    process.send_signal(number)
    assert process.wait(5) == -number


def test_a_handler_of_the_command_runs(shared: Fabric, pair: Pair) -> None:
    argv = ["sh", "-c", "trap 'echo caught; exit 7' TERM; echo ready; while :; do sleep 0.05; done"]
    process = shared.popen_cli("exec", pair[0].name, "--", *argv, stdout=subprocess.PIPE)
    assert process.stdout
    wait_for_output(process.stdout, b"ready", 10)
    process.terminate()
    wait_for_output(process.stdout, b"caught", 5)
    assert process.wait(5) == 7


def test_input_and_output(shared: Fabric, pair: Pair) -> None:
    process = shared.popen_cli(
        "exec", pair[0].name, "--", "sh", "-c", "cat; echo error >&2",
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    data = bytes(range(256)) * 1000
    assert process.communicate(data) == (data, b"error\n")


def test_options_belong_to_the_command(shared: Fabric, pair: Pair) -> None:
    done = shared.cli("exec", pair[0].name, "--", "echo", "--json", "-h", "--", "x")
    assert done.stdout == "--json -h -- x\n"


def test_it_runs_in_the_namespace(shared: Fabric, pair: Pair) -> None:
    """Its network and its /sys are the partition's; its files and its processes are everybody's."""
    blue = pair[0]
    listed = shared.cli("exec", blue.name, "--", "ls", "/sys/class/net").stdout.split()
    assert sorted(listed) == sorted(["lo", blue.ifname])
    inode = shared.cli("exec", blue.name, "--", "stat", "-L", "-c", "%i", "/proc/self/ns/net").stdout
    assert int(inode) == Path(blue.netns).stat().st_ino
    assert (
        shared.cli("exec", blue.name, "--", "cat", "/proc/1/comm").stdout == Path("/proc/1/comm").read_text()
    )
