"""Names, the same name in other letters, and names that go."""

from __future__ import annotations

import ipaddress

from vnicd.names.zone import Elsewhere, Zone


def find(zone: Zone, name: str) -> list[str] | Elsewhere:
    found = zone.find(tuple(name.encode().split(b".")))
    return found if isinstance(found, Elsewhere) else [str(ip) for ip in found]


def reverse(zone: Zone, address: str) -> str:
    labels = ipaddress.ip_address(address).reverse_pointer.encode().split(b".")
    return b".".join(zone.reverse(tuple(labels)) or ()).decode()


def test_names_come_change_and_go() -> None:
    zone = Zone()
    assert find(zone, "blue") is Elsewhere.MISSING
    zone.put("blue", ["10.77.0.1", "fd77::1", "fe80::1"])
    assert find(zone, "blue") == ["10.77.0.1", "fd77::1"], "who asks could not use a link-local address"
    assert reverse(zone, "fd77::1") == "blue.vnicd.internal"
    zone.put("blue", ["10.77.0.9"])
    assert (find(zone, "blue"), reverse(zone, "10.77.0.1")) == (["10.77.0.9"], "")
    zone.remove("blue")
    zone.remove("blue")
    assert (find(zone, "blue"), reverse(zone, "10.77.0.9")) == (Elsewhere.MISSING, "")
    assert zone.names == zone.owners == {}


def test_an_address_that_moves_before_its_old_name_goes() -> None:
    zone = Zone()
    zone.put("blue", ["10.77.0.1"])
    zone.put("green", ["10.77.0.1"])
    zone.remove("blue")
    assert reverse(zone, "10.77.0.1") == "green.vnicd.internal"


def test_names_that_differ_in_case_alone() -> None:
    zone = Zone()
    zone.put("Web", ["10.77.0.1"])
    assert find(zone, "web") == find(zone, "WEB.vnicd.internal") == ["10.77.0.1"]
    zone.put("web", [])
    assert (find(zone, "Web"), find(zone, "web"), find(zone, "WEB")) == (["10.77.0.1"], [], ["10.77.0.1"])
    zone.remove("Web")
    assert find(zone, "WEB") == []


def test_names_that_dns_does_not_have() -> None:
    zone = Zone()
    for name in ("a..b", "a."):
        zone.put(name, ["10.77.0.1"])
        assert zone.names == zone.owners == {}
        zone.remove(name)


def test_names_with_dots_go_before_the_worlds() -> None:
    zone = Zone()
    assert find(zone, "db.example.com") is Elsewhere.FOREIGN
    zone.put("db.example.com", ["10.77.0.1"])
    assert find(zone, "DB.example.com") == find(zone, "db.example.com.vnicd.internal") == ["10.77.0.1"]
    assert find(zone, "example.com") is Elsewhere.FOREIGN
