"""The vnicd command: `vnicd host`, `vnicd partition NAME`, `vnicd check`, `vnicd trace`, ...

Parsed by hand and importing only what each one needs, because a partition daemon has to stay small.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from vnicd import __version__
from vnicd.errors import VnicdError

if TYPE_CHECKING:
    import socket

USAGE = """Usage: vnicd host [--config FILE] [--hugepages auto|require|never] [--idle-timeout SECONDS] [--poll-us N]
                  [--log-level debug|info|warning|error] [--names on|local|off] [--units]
       vnicd partition NAME[@NETWORK]
       vnicd names
       vnicd docker [--socket FILE] [--state FILE]
       vnicd check [--json]
       vnicd orphans
       vnicd trace NAME
       vnicd logs NAME
       vnicd teardown
       vnicd --help | --version

host       the hosting daemon of the fabric in VNICD_RUNTIME_DIR (default /run/vnicd); with --config it is made
           as FILE declares it, and other options given here go before those in FILE; with --units its
           partition daemons are systemd units, vnicd-partition@NAME.service
partition  the daemon of one partition; the hosting daemon starts it; NETWORK is one beside the fabric's
names      tells partitions each other's addresses; the hosting daemon starts it
docker     the network driver `vnicd` of Docker, on the socket FILE (default /run/docker/plugins/vnicd.sock); it
           remembers Docker's networks in the file of --state (default /var/lib/vnicd/docker.json)
check      what this machine offers, as `vnicctl doctor` shows it
orphans    what the fabric has made and forgotten, as JSON; `vnicctl doctor` shows it
logs       where the daemon of a partition, or `host`, logs, as JSON; `vnicctl logs` shows it
trace      what the daemon of a partition, or `host`, did, as JSON; `vnicctl debug trace` shows it
teardown   remove what a fabric without a hosting daemon has left

People use vnicctl."""

COMMANDS = ("host", "partition", "names", "docker", "check", "orphans", "trace", "logs", "teardown")


def main() -> None:
    try:
        sys.exit(run(sys.argv[1:]))
    except VnicdError as error:
        sys.exit(_give_up(error))


def _give_up(error: VnicdError) -> int:
    """Say what is wrong; the exit code, also where that can't be said."""
    from vnicd.process import logs

    logs.last_word(error.line())
    try:
        sys.stderr.flush()
    except OSError:  # the log is on a disk that is full, and Python would exit with 120 for that
        os._exit(error.exit_code)
    return error.exit_code


def run(words: list[str]) -> int:
    """Do what the words say; the exit code."""
    if asked := {"--help", "-h", "--version"} & set(words):
        print(f"vnicd {__version__}" if asked == {"--version"} else USAGE)
        return 0
    return carry_out(words)


def carry_out(words: list[str]) -> int:
    command, rest = (words[0], words[1:]) if words else ("", [])
    if (command, len(rest)) in (("partition", 1), ("names", 0)) or command == "docker":
        return serve(command, rest)
    if command == "host":
        return run_host(rest)
    if command == "teardown" and not rest:
        return tear_down()
    if command == "check" and rest in ([], ["--json"]):
        from vnicd.kernel import checks

        return checks.main(as_json=bool(rest))
    if (command, len(rest)) in (("orphans", 0), ("trace", 1), ("logs", 1)):
        print_document(command, rest)
        return 0
    if command and command not in COMMANDS:
        print(f"vnicd: no such command '{command}'", file=sys.stderr)
    print(USAGE, file=sys.stderr)
    return 2


def tear_down() -> int:
    from vnicd.config import Options, Paths
    from vnicd.host.main import main as serve_fabric
    from vnicd.host.ports import state_file

    begin_log()
    units = state_file.has_units(Paths.from_environment().state)
    serve_fabric(Options(hugepages="auto", units=units), take_down=True)
    return 0


def serve(command: str, words: list[str]) -> int:
    """Be a process that the hosting daemon has started, or the driver for Docker; the exit code."""
    if command == "docker":
        return serve_docker(words)
    if command == "names":
        from vnicd.names.main import main as serve_names

        return serve_names()
    from vnicd.config import Paths
    from vnicd.partition.main import main as serve_partition
    from vnicd.protocol import registration

    word: str | None = words[0]
    if word == registration.NOBODYS:
        from vnicd.partition import spare

        word = spare.wait()
    if word is None:
        return 0
    name, _, network = word.partition("@")
    if network:
        os.environ["VNICD_RUNTIME_DIR"] = str(Paths.from_environment().of_network(network).root)
    return serve_partition(name)


def serve_docker(words: list[str]) -> int:
    from pathlib import Path

    if len(words) % 2 or any(word not in ("--socket", "--state") for word in words[::2]):
        print(USAGE, file=sys.stderr)
        return 2
    from vnicd.docker.main import main as serve

    given = {word: Path(value) for word, value in zip(words[::2], words[1::2], strict=True)}
    return serve(given.get("--socket"), given.get("--state"))


def print_document(command: str, words: list[str]) -> None:
    """What there is to tell, as JSON for vnicctl."""
    import json

    from vnicd.config import Paths

    paths = Paths.from_environment()
    if command == "trace":
        from vnicd.host import tracing

        print(json.dumps(tracing.document(paths, words[0])))
    elif command == "logs":
        from vnicd.host import logs

        print(json.dumps(logs.document(paths, words[0])))
    else:
        from vnicd.host.partitions import leftovers

        print(json.dumps({"checks": leftovers.findings(paths)}))


def begin_log() -> None:
    """Log as the hosting daemon does; until the options are known, as much as the environment says."""
    from vnicd.config import Options, Paths, wanted_log_level
    from vnicd.process import logs

    paths = Paths.from_environment()
    level = logs.known_level(wanted_log_level(), Options.log_level)
    logs.begin(level, {"VNICD_FABRIC": str(paths.root)}, paths.log("host"))


def run_host(words: list[str]) -> int:
    from vnicd.host.control.socket_activation import refuse_waiting
    from vnicd.process.systemd_notify import listening_sockets

    known = ("--config", "--hugepages", "--idle-timeout", "--poll-us", "--log-level", "--names")
    units = "--units" in words
    words = [word for word in words if word != "--units"]
    if len(words) % 2 or any(word not in known for word in words[::2]):
        print(USAGE, file=sys.stderr)
        return 2
    begin_log()
    given = dict(zip(words[::2], words[1::2], strict=True))
    handed = listening_sockets()
    try:
        host_with(given, units, handed[0] if handed else None)
    except VnicdError as error:
        refuse_waiting(handed, error)
        raise
    return 0


def host_with(given: dict[str, str], units: bool, handed: socket.socket | None) -> None:
    from dataclasses import replace
    from pathlib import Path

    from vnicd.config import NAMES, Options, make_options, wanted_log_level
    from vnicd.errors import Invalid
    from vnicd.process import logs
    from vnicd.spec import fabric_file

    declared = fabric_file.load(Path(given["--config"])) if "--config" in given else None
    base = declared.options if declared is not None else Options()
    try:
        idle_timeout = float(given.get("--idle-timeout", base.idle_timeout))
        poll_us = int(given.get("--poll-us", base.poll_us))
    except ValueError as error:
        raise Invalid(f"this is not a number: {error}") from error
    log_level = given.get("--log-level") or wanted_log_level() or base.log_level
    names = NAMES.get(given["--names"], given["--names"]) if "--names" in given else base.names
    hugepages = given.get("--hugepages", base.hugepages)
    chosen = replace(
        make_options(hugepages, idle_timeout, poll_us, log_level, names, units),
        subnets=base.subnets,
        gateways=base.gateways,
        labels=base.labels,
    )
    logs.set_level(chosen.log_level)
    from vnicd.host.main import main as serve_fabric

    serve_fabric(chosen, declared=declared, handed=handed)


if __name__ == "__main__":
    main()
