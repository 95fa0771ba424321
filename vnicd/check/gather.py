"""What is in a namespace, as its kernel tells it: interfaces, addresses, routes, neighbours, settings, counters.

All of it is read and nothing changed. The functions that take no path work in the calling thread's namespace.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import shlex
import socket
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.diag import DiagSocket
from pyroute2.netlink.exceptions import NetlinkError

from vnicd.check.facts import Address, Daemon, Holder, Link, Listener, Neighbour, Route, Rule, Scene, Tally
from vnicd.errors import NoNamespace, printable
from vnicd.kernel import netns, process

TOOL_TIMEOUT_S = 1.0
"""Seconds that nft and iptables-legacy-save have; a ruleset that takes longer is not looked at."""

IFF_UP, IFF_NOARP, IFF_LOWER_UP = 0x1, 0x80, 0x10000
IFA_F_DADFAILED, IFA_F_TENTATIVE = 0x08, 0x40
RTN_LOCAL = 2
REFUSING = {6: "blackhole", 7: "unreachable", 8: "prohibit"}
STATES = {1: "incomplete", 2: "reachable", 4: "stale", 8: "delay", 16: "probe", 32: "failed", 64: "noarp",
          128: "permanent"}  # fmt: skip
LAST_RESORT = 0xFFFFFFFF
LISTEN = 1 << 10
CGROUPS = "/sys/fs/cgroup"
INGRESS, EGRESS = 0xFFFFFFF2, 0xFFFFFFF3
LOCAL_TABLE, MAIN_TABLE, DEFAULT_TABLE = 255, 254, 253

SYSCTLS = {
    4: (
        "ipv4/conf/all/rp_filter",
        "ipv4/conf/{}/rp_filter",
        "ipv4/conf/all/arp_ignore",
        "ipv4/conf/{}/arp_ignore",
        "ipv4/icmp_echo_ignore_all",
    ),
    6: (
        "ipv6/conf/all/disable_ipv6",
        "ipv6/conf/{}/disable_ipv6",
        "ipv6/icmp/echo_ignore_all",
    ),
}
"""Settings that can keep packets out, below /proc/sys/net, with the interface's name put in."""

FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


def scene(ifname: str, tcp_port: int) -> Scene:
    """What is in the calling thread's namespace, where `ifname` is the fabric's interface."""
    with IPRoute(strict_check=True) as route:
        links = _links(route)
        names = {link.index: link.name for link in links.values()}
        found = Scene(links, _addresses(route, names))
        for version, family in FAMILIES.items():
            with suppress(NetlinkError):  # a kernel without IPv6, or without policy routing
                found.rules[version] = _rules(route, family)
                found.refusing += _refusing(route, family)
        if ifname in links:
            found.filters = _filters(route, links[ifname].index)
    found.sysctls = _sysctls(ifname)
    if tcp_port:
        found.listeners = listeners(tcp_port)
    return found


def _links(route: IPRoute) -> dict[str, Link]:
    messages = list(route.get_links())
    names = {each["index"]: word(each.get_attr("IFLA_IFNAME")) for each in messages}
    found = {}
    for each in messages:
        flags, info, xdp = each["flags"], each.get_attr("IFLA_LINKINFO"), each.get_attr("IFLA_XDP")
        master = each.get_attr("IFLA_MASTER")
        name = names[each["index"]]
        found[name] = Link(
            name=name,
            index=each["index"],
            is_up=bool(flags & IFF_UP),
            carrier=bool(flags & IFF_LOWER_UP),
            no_arp=bool(flags & IFF_NOARP),
            mac=each.get_attr("IFLA_ADDRESS") or "",
            mtu=each.get_attr("IFLA_MTU") or 0,
            kind=(info.get_attr("IFLA_INFO_KIND") if info else "") or "",
            master=names.get(master, "") if master else "",
            xdp=_has_xdp(xdp),
        )
    for link in found.values():
        if link.master:
            link.master = f"{found[link.master].kind or 'interface'} {link.master}"
    return found


def word(name: str | bytes | None) -> str:
    """The name of an interface as a word for a shell, as the namespace's root has chosen it; mostly it is the same."""
    text = name.decode(errors="backslashreplace") if isinstance(name, bytes) else name
    return shlex.quote(printable(text)) if text else ""


def _has_xdp(xdp: Any) -> bool:
    """Whether a program is attached; the kernel tells of a place for it in any case."""
    if xdp is None:
        return False
    attached = xdp.get_attr("IFLA_XDP_ATTACHED")
    value = attached[0] if isinstance(attached, bytes) and attached else attached
    return bool(value) or bool(xdp.get_attr("IFLA_XDP_PROG_ID"))


def _addresses(route: IPRoute, names: dict[int, str]) -> list[Address]:
    found = []
    for each in route.get_addr():
        text = each.get_attr("IFA_LOCAL") or each.get_attr("IFA_ADDRESS")
        flags = each.get_attr("IFA_FLAGS") or each["flags"]
        found.append(
            Address(
                names.get(each["index"], "?"),
                f"{text}/{each['prefixlen']}",
                bool(flags & IFA_F_TENTATIVE),
                bool(flags & IFA_F_DADFAILED),
            )
        )
    return found


def _rules(route: IPRoute, family: int) -> list[Rule]:
    """The rules that not every namespace has."""
    found = []
    for each in route.get_rules(family=family):
        priority, table = each.get_attr("FRA_PRIORITY") or 0, each.get_attr("FRA_TABLE") or each["table"]
        usual = (priority, table) in ((0, LOCAL_TABLE), (32766, MAIN_TABLE), (32767, DEFAULT_TABLE))
        if usual and each["action"] == 1:
            continue
        words = [f"{priority}:"]
        for key, size, name in (
            ("FRA_SRC", "src_len", "from"),
            ("FRA_DST", "dst_len", "to"),
            ("FRA_IIFNAME", "", "iif"),
            ("FRA_OIFNAME", "", "oif"),
        ):
            if value := each.get_attr(key):
                words.append(f"{name} {value}{'/' + str(each[size]) if size else ''}")
        if mark := each.get_attr("FRA_FWMARK"):
            words.append(f"fwmark {mark:#x}")
        words.append(REFUSING.get(each["action"], f"lookup {table}"))
        to = each.get_attr("FRA_DST")
        found.append(Rule(priority, " ".join(words), f"{to}/{each['dst_len']}" if to else ""))
    return found


def _refusing(route: IPRoute, family: int) -> list[tuple[str, str]]:
    """Routes that lead nowhere, but for the kernel's own where there is no other."""
    everything = "0.0.0.0" if family == socket.AF_INET else "::"
    return [
        (f"{each.get_attr('RTA_DST') or everything}/{each['dst_len']}", word)
        for kind, word in REFUSING.items()
        for each in route.route("dump", family=family, type=kind)
        if each["type"] == kind and each.get_attr("RTA_PRIORITY") != LAST_RESORT
    ]


def _filters(route: IPRoute, index: int) -> list[str]:
    found = []
    for parent, hook in ((INGRESS, "ingress"), (EGRESS, "egress")):
        with suppress(NetlinkError):  # there is no place for filters
            if any(each["parent"] == parent for each in route.get_filters(index=index, parent=parent)):
                found.append(hook)
    return found


def _sysctls(ifname: str) -> dict[str, str]:
    found = {}
    for names in SYSCTLS.values():
        for name in names:
            path = name.format(ifname)
            with suppress(OSError):
                found[path] = Path("/proc/sys/net", path).read_text().strip()
    return found


def listeners(port: int) -> list[Listener] | None:
    """Who listens on a TCP port; None where the kernel does not tell (CONFIG_INET_DIAG)."""
    with suppress(NetlinkError), DiagSocket() as diag:
        diag.bind()
        return [
            Listener(each["idiag_src"], each["idiag_rqueue"], each["idiag_wqueue"])
            for family in FAMILIES.values()
            for each in diag.get_sock_stats(family=family, states=LISTEN)
            if each["idiag_sport"] == port
        ]
    return None


# --------------------------------------------------------------------------------------- ways and neighbours


def route_to(target: str, source: str = "") -> Route:
    """How the kernel would send to `target`, from `source` if that is given."""
    words: dict[str, Any] = {"dst": target, "family": FAMILIES[ipaddress.ip_address(target).version]}
    if source:
        words["src"] = source
    with IPRoute(strict_check=True) as route:
        try:
            each = next(iter(route.route("get", **words)), None)
        except NetlinkError as error:
            return Route(error=os.strerror(error.code))
    if each is None or each["type"] in REFUSING:
        return Route(error=os.strerror(errno.ENETUNREACH))
    return Route(
        dev=_name_of(each.get_attr("RTA_OIF")),
        gateway=_gateway(each),
        source=each.get_attr("RTA_PREFSRC") or source,
        is_local=each["type"] == RTN_LOCAL,
        mtu=_metric(each, "RTAX_MTU"),
    )


def _gateway(each: Any) -> str:
    if gateway := each.get_attr("RTA_GATEWAY"):
        return str(gateway)
    via = each.get_attr("RTA_VIA")  # an IPv6 gateway of an IPv4 route
    return str(via["addr"]) if via else ""


def _metric(each: Any, name: str) -> int:
    metrics = each.get_attr("RTA_METRICS")
    return int((metrics.get_attr(name) if metrics else 0) or 0)


def _name_of(index: int | None) -> str:
    try:
        return word(socket.if_indextoname(index)) if index else ""
    except OSError:
        return ""


def neighbour(ifname: str, address: str) -> Neighbour:
    """The kernel's entry of an address on an interface; one without a state when there is none."""
    wanted = ipaddress.ip_address(address)
    try:
        index = socket.if_nametoindex(ifname)
    except OSError:
        return Neighbour()
    with IPRoute() as route:
        for each in route.get_neighbours(family=FAMILIES[wanted.version]):
            found = each.get_attr("NDA_DST")
            if each["ifindex"] == index and found and ipaddress.ip_address(found) == wanted:
                state = next((word for bit, word in STATES.items() if each["state"] & bit), "")
                return Neighbour(each.get_attr("NDA_LLADDR") or "", state)
    return Neighbour()


def holds(netns_path: str, address: str) -> bool:
    """Whether an address is one of a namespace's own. False when it can't be looked at."""
    version = ipaddress.ip_address(address).version

    def bind() -> bool:
        # Quicker than a dump, as each partition is asked.
        with socket.socket(FAMILIES[version], socket.SOCK_DGRAM) as sock, suppress(OSError):
            sock.bind((address, 0))
            path = "ipv4/ip_nonlocal_bind" if version == 4 else "ipv6/ip_nonlocal_bind"
            return Path("/proc/sys/net", path).read_text().strip() == "0"
        return False

    try:
        return netns.inside(netns_path, bind)
    except (NoNamespace, OSError):
        return False


# -------------------------------------------------------------------------------------------------- counters


def tally(ifname: str) -> Tally:
    """The counters of the calling thread's namespace."""
    nft, legacy = ruleset(), legacy_rules()
    return Tally(_snmp(), _dropped(ifname), nft, legacy)


def _snmp() -> dict[str, int]:
    found: dict[str, int] = {}
    own = Path("/proc/thread-self/net")
    for name in ("snmp", "netstat"):
        with suppress(OSError, ValueError):
            lines = (own / name).read_text().splitlines()
            for keys, values in zip(lines[::2], lines[1::2], strict=False):
                prefix = keys.partition(":")[0]
                for key, value in zip(keys.split()[1:], values.split()[1:], strict=False):
                    found[f"{prefix}.{key}"] = int(value)
    with suppress(OSError, ValueError):
        for line in (own / "snmp6").read_text().splitlines():
            key, value = line.split()
            found[key] = int(value)
    return found


def _dropped(ifname: str) -> dict[str, int]:
    found: dict[str, int] = {}
    try:
        index = socket.if_nametoindex(ifname)
    except OSError:
        return found
    with IPRoute() as route, suppress(NetlinkError):
        for each in route.get_qdiscs(index=index):
            stats = each.get_attr("TCA_STATS")
            kind = each.get_attr("TCA_KIND")
            if stats and kind not in ("ingress", "clsact"):
                # What waits for ever is as good as dropped.
                found[kind] = found.get(kind, 0) + stats["drop"] + stats["qlen"]
    return found


def ruleset() -> dict[str, Any] | None:
    """What nft lists; None when it can't be had in time."""
    import json

    text = _output(["nft", "-j", "list", "ruleset"])
    try:
        found = json.loads(text) if text else None
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def legacy_rules() -> str:
    """Rules of iptables-legacy, which nft does not show. Where there are none, asking would make empty tables."""
    texts = []
    for tool, names in (
        ("iptables-legacy-save", "ip_tables_names"),
        ("ip6tables-legacy-save", "ip6_tables_names"),
    ):
        with suppress(OSError):
            if Path("/proc/thread-self/net", names).read_text().strip():
                texts.append(_output([tool, "-c"]) or f"# {tool} can't be run\n")
    return "".join(texts)


def _output(argv: list[str]) -> str:
    """What a tool prints in the calling thread's namespace, which a child inherits; empty when it fails.

    The namespace's root may have put any bytes into a comment.
    """
    try:
        done = subprocess.run(
            argv, check=False, capture_output=True, text=True, errors="replace", timeout=TOOL_TIMEOUT_S,
            stdin=subprocess.DEVNULL, env={**os.environ, "LC_ALL": "C"},
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


# --------------------------------------------------------------------------------------------------- daemons


def daemon(pid: int) -> Daemon:
    """The process of a daemon."""
    if not pid or process.start_time(pid) is None:
        return Daemon(pid, "dead")
    found = Daemon(pid, "stopped" if process.is_stopped(pid) else "frozen" if _is_frozen(pid) else "up")
    with suppress(OSError, ValueError, IndexError):
        found.files = len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - only their number
        limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
        found.most_files = next(int(line.split()[3]) for line in limits if line.startswith("Max open files"))
    return found


def _is_frozen(pid: int) -> bool:
    """Whether its control group was frozen, as `docker pause` and `systemctl freeze` do."""
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    except OSError:
        return False
    for line in lines:
        _, controllers, own = line.split(":", 2)
        names = (
            [("cgroup.events", "frozen 1"), ("unified/cgroup.events", "frozen 1")] if not controllers else []
        )
        if controllers == "freezer":
            names = [("freezer/freezer.state", "FROZEN")]
        for name, sign in names:
            folder, _, file = name.rpartition("/")
            with suppress(OSError):
                if sign in Path(CGROUPS, folder, own.lstrip("/"), file).read_text():
                    return True
    return False


def holders(address: str, places: Iterable[tuple[str, str]]) -> tuple[Holder, ...]:
    """Which of the namespaces, given as names and paths, have the address."""
    found = []
    for name, path in places:
        if holds(path, address):
            held = netns.inside(path, addresses)
            found += [Holder(name, each.ifname, each.text) for each in held if each.ip == address]
    return tuple(found)


def addresses() -> list[Address]:
    """All addresses of the calling thread's namespace."""
    with IPRoute() as route:
        return _addresses(route, {link.index: link.name for link in _links(route).values()})
