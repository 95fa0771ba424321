"""Makes networks, and starts their hosting daemons; each is a fabric of its own.

A network is declared by a file (Paths.declaration). Where vnicd is a service, that is in /etc, and a unit of the
network's own runs its hosting daemon; else it is in the network's runtime directory, and `vnicctl up` starts it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence

from vnicd.cli.client import call
from vnicd.cli.fabrics.ending import take_away
from vnicd.cli.fabrics.locked import locked, systemctl
from vnicd.cli.fabrics.networks import LOOK_TIMEOUT_S, ask, inside, names
from vnicd.cli.fabrics.starting import start_fabric
from vnicd.cli.fabrics.subnets import default_nic, of_machine, of_networks
from vnicd.config import Paths, service_of
from vnicd.errors import (
    AlreadyRunning,
    Exists,
    Invalid,
    NotFound,
    NotPermitted,
    NotRunning,
    Resources,
    VnicdError,
    from_code,
)
from vnicd.spec import fabric_file
from vnicd.spec.fabric_file import Declared
from vnicd.spec.network import (
    NEEDS_SUBNET,
    NetworkSpec,
    choose_subnets,
    overlap,
    with_gateways,
)

APPLY_TIMEOUT_S = 30.0


def add(spec: NetworkSpec) -> None:
    """Make a network, and return when it is ready; when that fails, nothing of it is left."""
    if os.geteuid() != 0:
        raise NotPermitted("only root can add a network", "run it with sudo")
    with locked() as default:
        if spec.name in names():
            raise Exists(f"the network {spec.name} exists already")
        paths = default.of_network(spec.name)
        with inside(paths):
            Paths.from_environment()  # or its sockets would have too long a name
        whole = _completed(spec, default)
        _write(paths, whole.declared())
        try:
            start(paths)
            _settle(paths, whole.declared())
        except BaseException:
            with contextlib.suppress(VnicdError):
                take_away(paths)
            raise


def _completed(spec: NetworkSpec, default: Paths) -> NetworkSpec:
    """With a NIC and with subnets where they are needed and none was named; Invalid when others have those."""
    if spec.mode not in NEEDS_SUBNET:
        return spec
    nic = spec.nic or (default_nic() if spec.mode == "nat" else "")
    others = {**of_networks(default), **of_machine()}
    subnets = spec.subnets or choose_subnets(each for networks in others.values() for each in networks)
    spec = with_gateways(NetworkSpec(spec.name, spec.mode, nic, subnets, spec.gateways, spec.labels))
    if found := overlap(spec, others):
        raise Invalid(f"the subnet {found[0]} overlaps with that of {found[1]}", "choose another --subnet")
    return spec


def _write(paths: Paths, what: Declared) -> None:
    """Declare a network, all of it or not at all; Exists when somebody else has done so meanwhile."""
    path = paths.declaration
    new = path.with_name(f".{path.name}.new")
    try:
        paths.root.mkdir(mode=0o755, parents=True, exist_ok=True)
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        with new.open("w") as file:
            new.chmod(0o644)
            file.write(fabric_file.render(what))
            file.flush()
            os.fsync(file.fileno())
        path.hardlink_to(new)
    except FileExistsError as error:
        raise Exists(f"there is a file {path} already") from error
    except OSError as error:
        for remove in (new.unlink, paths.root.rmdir):  # which stays if there is a file in it
            with contextlib.suppress(OSError):
                remove()
        raise Resources(f"{path} can't be written: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            new.unlink()


def start(paths: Paths, options: Sequence[str] = ()) -> int:
    """Start the hosting daemon of a network that is declared; its pid once it is ready.

    A service takes no `options`: it has those in its file.
    """
    with inside(paths):
        if not (service := service_of(paths.root)):
            return start_fabric(["--config", str(paths.declaration), *options])
        if options:
            raise Invalid(
                f"{service} takes its options from its file", f"write them into {paths.declaration}"
            )
        with contextlib.suppress(NotRunning):
            pid = call("fabric.ping", timeout=LOOK_TIMEOUT_S)["pid"]
            raise AlreadyRunning(f"the fabric of {paths.root} is up already, pid {pid}")
        systemctl("enable", "--now", service)
        return int(call("fabric.ping", timeout=LOOK_TIMEOUT_S)["pid"])


def _settle(paths: Paths, what: Declared) -> None:
    """Have the error of what could not be made when the hosting daemon started: it only logs that."""
    params = {"declared": fabric_file.to_json(what), "dry_run": False, "allow_empty": False}
    with inside(paths):
        answer = call("fabric.apply", params, timeout=APPLY_TIMEOUT_S)
    for change in answer["changes"]:
        for error in (*change["obstacles"], change["error"]):
            if error:
                raise from_code(error["code"], error["message"], error["hint"])
    uplink = ask(paths, "uplink.show")["uplink"]
    if uplink is not None and uplink["state"] == "absent":  # which a start allows: the NIC may come later
        raise NotFound(f"there is no interface {uplink['nic']}", "list them with: ip link")
    if uplink is not None and uplink["reason"]:
        raise VnicdError(f"the uplink can't be made ready: {uplink['reason']}")


def start_all() -> Mapping[str, int | VnicdError]:
    """Start those whose hosting daemon is dead; the pid of each that was started, or why it could not be."""
    found: dict[str, int | VnicdError] = {}
    default = Paths.from_environment()
    for name in names():
        paths = default.of_network(name)
        try:
            ask(paths, "fabric.ping")
        except NotRunning:
            try:
                found[name] = start(paths)
            except AlreadyRunning:
                continue
            except VnicdError as error:
                found[name] = error
        except VnicdError:  # it is there, and doctor tells more
            continue
    return found
