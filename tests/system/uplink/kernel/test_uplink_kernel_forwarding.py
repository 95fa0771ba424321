"""Forwarding for nat mode: what is changed on the machine, and that it comes back, also when a claimer is killed."""

from __future__ import annotations

import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.framework.fabric.namespaces import NETNS, in_namespace, socket_in
from tests.framework.uplink.wire import NIC, REMOTE, Wire, ip
from tests.framework.waiting import wait_for_output, wait_until
from tests.system.conftest import TAG
from vnicd.kernel import forwarding, nic
from vnicd.kernel.forwarding import Forwarding

SETTINGS = [f"net.ipv4.conf.{NIC}.forwarding", f"net.ipv6.conf.{NIC}.force_forwarding"]

one_by_one = pytest.mark.skipif(
    not Path("/proc/sys/net/ipv6/conf/all", forwarding.FORCE).exists(),
    reason="an interface can't forward IPv6 by itself before Linux 6.17",
)


@pytest.fixture
def wire() -> Iterator[Wire]:
    with closing(Wire(TAG)) as wire:
        yield wire


def values(wire: Wire) -> dict[str, str]:
    """All settings of the namespace that forwarding may touch."""
    text = wire.run("sysctl", "-a", "-r", r"net\.ipv[46].*(forwarding|accept_ra)$")
    return dict(line.split(" = ") for line in text.splitlines())


def ledgers(wire: Wire) -> list[Path]:
    return list(Path("/run").glob(f"vnicd-{wire.inside(nic.namespace)}-*.lock"))


def claim_of(wire: Wire) -> Forwarding:
    """A new claim, of port 0's interface or, as here, with none."""
    claim = wire.inside(lambda: Forwarding("vnicd7", NIC, True))
    wire.inside(claim.claim)
    return claim


@one_by_one
def test_only_these_settings_are_changed_and_come_back(wire: Wire) -> None:
    before = values(wire)
    claim = claim_of(wire)
    assert values(wire) == {**before, **dict.fromkeys(SETTINGS, "1")}
    wire.inside(claim.claim)
    wire.inside(claim.release)
    assert values(wire) == before
    assert not ledgers(wire)
    wire.inside(claim.release)


@one_by_one
def test_port_0_forwards_as_well(wire: Wire) -> None:
    ip("-n", wire.here, "link", "add", "vnicd0", "type", "veth", "peer", "name", "other")
    before = values(wire)
    claim = wire.inside(lambda: Forwarding("vnicd0", NIC, True))
    wire.inside(claim.claim)
    names = [*SETTINGS, *(name.replace(".nic.", ".vnicd0.") for name in SETTINGS)]
    assert values(wire) == {**before, **dict.fromkeys(names, "1")}
    wire.inside(claim.release)
    assert values(wire) == before


def test_the_last_one_out_puts_it_back(wire: Wire) -> None:
    before = values(wire)
    one, other = claim_of(wire), claim_of(wire)
    wire.inside(one.release)
    assert values(wire) != before
    wire.inside(other.release)
    assert values(wire) == before


@one_by_one
def test_what_the_user_has_set_stays(wire: Wire) -> None:
    wire.run("sysctl", "-qw", f"{SETTINGS[0]}=1")
    claim = claim_of(wire)
    wire.run("sysctl", "-qw", f"{SETTINGS[1]}=0")
    before = values(wire)
    wire.inside(claim.release)
    assert values(wire) == before
    assert before[SETTINGS[0]] == "1"


def killed_claimer(wire: Wire) -> None:
    code = f"""
from vnicd.kernel import forwarding
forwarding.FORCE = {forwarding.FORCE!r}
forwarding.Forwarding("vnicd7", {NIC!r}, True).claim()
print("claimed", flush=True)
input()
"""
    argv = ["nsenter", f"--net={NETNS / wire.here}", sys.executable, "-c", code]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as claimer:
        assert claimer.stdout
        wait_for_output(claimer.stdout, b"claimed", 10)
        claimer.send_signal(signal.SIGKILL)


def by_a_claim(wire: Wire) -> None:
    """Of another NIC."""
    claim = wire.inside(lambda: Forwarding("vnicd7", "lo", False))
    wire.inside(claim.claim)
    wire.inside(claim.release)


def by_a_release(wire: Wire) -> None:
    claim = wire.inside(lambda: Forwarding("vnicd7", "lo", False))
    wire.inside(claim.release)


def by_the_same_nic(wire: Wire) -> None:
    wire.inside(claim_of(wire).release)


def by_settling(wire: Wire) -> None:
    wire.inside(forwarding.settle)


MAKES_UP = [by_a_claim, by_a_release, by_the_same_nic, by_settling]


@pytest.mark.parametrize("force", [pytest.param(forwarding.FORCE, marks=one_by_one), "no_such_setting"])
@pytest.mark.parametrize("makes_up", MAKES_UP)
def test_a_killed_claimer_is_made_up_for(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, force: str, makes_up: Callable[[Wire], None]
) -> None:
    monkeypatch.setattr(forwarding, "FORCE", force)
    before = values(wire)
    killed_claimer(wire)
    assert values(wire) != before
    makes_up(wire)
    assert values(wire) == before
    assert not ledgers(wire)


def test_a_claim_makes_up_at_once(wire: Wire) -> None:
    before = values(wire)
    killed_claimer(wire)
    claim = wire.inside(lambda: Forwarding("vnicd7", "lo", False))
    wire.inside(claim.claim)
    assert values(wire) == {**before, "net.ipv4.conf.lo.forwarding": "1"}
    wire.inside(claim.release)


@one_by_one
def test_a_live_claim_survives_others(wire: Wire) -> None:
    before = values(wire)
    claim = claim_of(wire)
    for other in MAKES_UP:
        other(wire)
        assert {values(wire)[name] for name in SETTINGS} == {"1"}
    wire.inside(claim.release)
    assert values(wire) == before


def test_a_ledger_of_a_namespace_that_is_gone_is_void(wire: Wire) -> None:
    """The inode of a namespace is used again."""
    claim = claim_of(wire)
    (text,) = {path.read_text() for path in ledgers(wire) if "ipv4" in path.name}
    wire.inside(claim.release)
    wire.run("sysctl", "-qw", f"{SETTINGS[0]}=1")
    with closing(Wire(TAG)) as other:
        name = Path("/run") / f"vnicd-{other.inside(nic.namespace)}-forwarding-ipv4-{NIC}.lock"
        name.write_text(text)
        other.run("sysctl", "-qw", f"{SETTINGS[0]}=1")
        other.inside(forwarding.settle)
        assert values(other)[SETTINGS[0]] == "1"
        assert not ledgers(other)


@pytest.fixture
def old_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that can forward IPv6 only as a whole."""
    monkeypatch.setattr(forwarding, "FORCE", "no_such_setting")


@pytest.mark.usefixtures("old_kernel")
def test_the_whole_machine(wire: Wire) -> None:
    """It listens to routers as before, and an interface that forwarded by itself goes on with it."""
    wire.run("sysctl", "-qw", "net.ipv6.conf.lo.forwarding=1", f"net.ipv6.conf.{NIC}.accept_ra=1")
    before = values(wire)
    claim = claim_of(wire)
    now = values(wire)
    assert now["net.ipv6.conf.all.forwarding"] == now[f"net.ipv6.conf.{NIC}.forwarding"] == "1"
    assert now[f"net.ipv6.conf.{NIC}.accept_ra"] == "2"
    assert now["net.ipv6.conf.lo.accept_ra"] == before["net.ipv6.conf.lo.accept_ra"]
    other = claim_of(wire)
    wire.inside(claim.release)
    assert values(wire) == now
    wire.inside(other.release)
    assert values(wire) == before


@pytest.mark.usefixtures("old_kernel")
def test_what_the_user_has_set_meanwhile_stays(wire: Wire) -> None:
    claim = claim_of(wire)
    wire.run("sysctl", "-qw", f"net.ipv6.conf.{NIC}.accept_ra=0")
    wire.inside(claim.release)
    assert values(wire)[f"net.ipv6.conf.{NIC}.accept_ra"] == "0"


@pytest.mark.usefixtures("old_kernel")
def test_a_router_is_left_alone(wire: Wire) -> None:
    wire.run("sysctl", "-qw", "net.ipv6.conf.all.forwarding=1")
    before = values(wire)
    claim = claim_of(wire)
    assert values(wire) == {**before, SETTINGS[0]: "1"}
    wire.inside(claim.release)
    assert values(wire) == before


def advertise(wire: Wire) -> None:
    """A router advertisement from the remote end."""
    remote = str(NETNS / wire.remote)
    with closing(socket_in(remote, socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)) as sock:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        index = in_namespace(remote, lambda: socket.if_nametoindex(REMOTE))
        sock.sendto(struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0), ("ff02::1", 0, 0, index))


@pytest.mark.usefixtures("old_kernel")
def test_routes_from_router_advertisements_are_kept(wire: Wire) -> None:
    """The kernel throws them away when it starts to forward while accept_ra is 1."""

    def gateways() -> list[str]:
        return [route["gateway"] for route in wire.show("-6", "route", "show", "default")]

    def hears() -> list[str]:
        with suppress(OSError):  # the remote end has no link-local address yet
            advertise(wire)
        return gateways()

    wire.run("sysctl", "-qw", f"net.ipv6.conf.{NIC}.accept_ra=1")
    router = wait_until(hears, 5, "a default route")
    wire.run("sysctl", "-qw", "net.ipv6.conf.all.forwarding=1")
    assert not gateways(), "so it does"
    wire.run("sysctl", "-qw", "net.ipv6.conf.all.forwarding=0")
    assert wait_until(hears, 5, "a default route") == router
    claim = claim_of(wire)
    assert gateways() == router
    wire.inside(claim.release)
    assert gateways() == router
