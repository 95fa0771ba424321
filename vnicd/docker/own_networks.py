"""Networks of vnicd that are made for Docker networks, by vnicctl: it alone knows how hosting daemons are started."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from vnicd.docker import naming
from vnicd.docker.wire import Pool
from vnicd.errors import Exists, NotFound, TimedOut, VnicdError

VNICCTL = Path(sys.executable).with_name("vnicctl")

TIMEOUT_S = 28.0
"""Seconds for one command; Docker waits for 30."""


def add(ident: str, uplink: str, nic: str, pools: tuple[Pool, ...]) -> str:
    """Make the network of a Docker network; its name. One that an earlier try has made is taken."""
    name = naming.network(ident)
    words = [*("--uplink", uplink), *(("--nic", nic) if nic else ())]
    for pool in pools:
        words += ["--subnet", pool.subnet]
        # Of an internal network nobody is the gateway.
        if pool.gateway and uplink != "internal":
            words += ["--gateway", pool.gateway.partition("/")[0]]
    words += ["--label", f"{naming.OWNER_NETWORK}={ident}"]
    try:
        _vnicctl("add", name, *words)
    except Exists:
        there = _vnicctl("show", name)
        if there["labels"].get(naming.OWNER_NETWORK) != ident:
            raise
        if there["state"] == "down":  # the earlier try was killed before it was done
            remove(name)
            _vnicctl("add", name, *words)
    except TimedOut:  # it was killed, and Docker will not ask for this network again
        with suppress(VnicdError):
            remove(name)
        raise
    return name


def remove(name: str) -> None:
    """No error when it is gone."""
    try:
        _vnicctl("remove", name, "--force", as_json=False)
    except NotFound:
        pass


def _vnicctl(command: str, *words: str, as_json: bool = True) -> Any:
    """What `vnicctl network` prints; its error is raised as one of ours."""
    argv = [str(VNICCTL), "network", command, *words, *(["--json"] if as_json else [])]
    try:
        done = subprocess.run(
            argv, check=False, capture_output=True, text=True, timeout=TIMEOUT_S, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired as error:
        raise TimedOut(f"vnicctl network {command} took longer than {TIMEOUT_S:g} s") from error
    except OSError as error:
        raise VnicdError(f"{VNICCTL} can't be run: {error.strerror}") from error
    if done.returncode:
        kinds = {kind.exit_code: kind for kind in (Exists, NotFound)}
        text = done.stderr.strip().removeprefix("vnicctl: ") or f"vnicctl exits with {done.returncode}"
        raise kinds.get(done.returncode, VnicdError)(text)
    return json.loads(done.stdout) if as_json else None
