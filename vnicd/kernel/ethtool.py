"""What a NIC's driver tells by ethtool netlink: which offloads are switched on, and the speed of the link."""

from __future__ import annotations

from typing import Any

from pyroute2.netlink import NLM_F_REQUEST, genlmsg
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.generic import GenericNetlinkSocket
from pyroute2.netlink.generic.ethtool import (
    ETHTOOL_GENL_NAME,
    ETHTOOL_GENL_VERSION,
    ETHTOOL_MSG_FEATURES_GET,
    ETHTOOL_MSG_LINKMODES_GET,
    ethtool_linkmode_msg,
    ethtoolbitset,
    ethtoolheader,
)

COMPACT = 1
SPEED_UNKNOWN = 0xFFFFFFFF

FEATURES: dict[str, tuple[set[str], ...]] = {
    "tx-checksum": ({"tx-checksum-ip-generic"}, {"tx-checksum-ipv4", "tx-checksum-ipv6"}),
    "tso4": ({"tx-tcp-segmentation"},),
    "tso6": ({"tx-tcp6-segmentation"},),
    "uso": ({"tx-udp-segmentation"},),
    "rx-checksum": ({"rx-checksum"},),
    "gro": ({"rx-gro"},),
}
"""Each offload, and the sets of the kernel's features of which one must be on as a whole."""


class _Features(genlmsg):  # type: ignore[misc]
    """The answer to ETHTOOL_MSG_FEATURES_GET, which pyroute2 lacks."""

    nla_map = (
        ("ETHTOOL_A_FEATURES_UNSPEC", "none"),
        ("ETHTOOL_A_FEATURES_HEADER", "ethtoolheader"),
        ("ETHTOOL_A_FEATURES_HW", "ethtoolbitset"),
        ("ETHTOOL_A_FEATURES_WANTED", "ethtoolbitset"),
        ("ETHTOOL_A_FEATURES_ACTIVE", "ethtoolbitset"),
        ("ETHTOOL_A_FEATURES_NOCHANGE", "ethtoolbitset"),
    )
    ethtoolheader = ethtoolheader
    ethtoolbitset = ethtoolbitset


def query(index: int) -> tuple[dict[str, bool], int | None]:
    """Which of FEATURES are on, and the speed in Mbit/s; what is not told is off, or None."""
    try:
        with GenericNetlinkSocket() as sock:
            return _offloads(sock, index), _speed(sock, index)
    except (NetlinkError, OSError):  # the kernel has no ethtool netlink
        return _named(set()), None


def _offloads(sock: Any, index: int) -> dict[str, bool]:
    answer = _ask(sock, index, _Features, ETHTOOL_MSG_FEATURES_GET, "ETHTOOL_A_FEATURES_HEADER", 0)
    bits = answer and answer.get_nested("ETHTOOL_A_FEATURES_ACTIVE", "ETHTOOL_A_BITSET_BITS")
    return _named({bit.get_attr("ETHTOOL_A_BITSET_BIT_NAME") for _, bit in bits["attrs"]} if bits else set())


def _named(active: set[str]) -> dict[str, bool]:
    return {name: any(whole <= active for whole in ways) for name, ways in FEATURES.items()}


def _speed(sock: Any, index: int) -> int | None:
    """None as well while there is no link."""
    answer = _ask(
        sock, index, ethtool_linkmode_msg, ETHTOOL_MSG_LINKMODES_GET, "ETHTOOL_A_LINKMODES_HEADER", COMPACT
    )
    speed = answer and answer.get_attr("ETHTOOL_A_LINKMODES_SPEED")
    return None if speed in (None, SPEED_UNKNOWN) else int(speed)


def _ask(sock: Any, index: int, kind: Any, command: int, header: str, flags: int) -> Any:
    """The answer to a question about an interface, None when the driver does not know."""
    message = kind()
    message["cmd"] = command
    message["version"] = ETHTOOL_GENL_VERSION
    asked = [["ETHTOOL_A_HEADER_DEV_INDEX", index], ["ETHTOOL_A_HEADER_FLAGS", flags]]
    message["attrs"].append((header, {"attrs": asked}))
    try:
        sock.bind(ETHTOOL_GENL_NAME, kind)
        return next(iter(sock.nlm_request(message, msg_type=sock.prid, msg_flags=NLM_F_REQUEST)), None)
    except NetlinkError:
        return None
