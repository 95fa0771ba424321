"""What containers are called."""

from __future__ import annotations

import pytest

from vnicd.spec import container

ID = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("owner", "expected"),
    [
        ((), None),
        (("app=shop",), None),
        ((f"cni/container={ID}", "cni/name=redis", "cni/network=fast"), "redis"),
        ((f"cni/container={ID}", "cni/name=web-0", "cni/namespace=shop"), "shop/web-0"),
        ((f"cni/container={ID}",), ID[:12]),
        (("docker.endpoint=77", "docker.network=66"), None),
        (("a/name=", "a/namespace=b"), None),
        (("a/name=x=y",), "x=y"),
    ],
)
def test_a_name_by_the_owner(owner: tuple[str, ...], expected: str | None) -> None:
    assert container.name(owner) == expected


@pytest.mark.parametrize(
    ("owner", "expected"),
    [
        ({}, ""),
        ({"app": "shop", "tier": "web"}, "app=shop, tier=web"),
        ({"cni/container": ID, "cni/interface": "eth0", "cni/name": "redis"}, "cni: redis"),
        ({"cni/container": ID, "cni/interface": "eth0"}, f"cni: {ID[:12]}"),
        ({"docker.endpoint": ID, "docker.network": ID}, "docker"),
        ({"docker.endpoint": ID, "app": "shop"}, f"docker.endpoint={ID[:12]}, app=shop"),
    ],
)
def test_an_owner_in_short(owner: dict[str, str], expected: str) -> None:
    assert container.owner_in_short(owner) == expected


@pytest.mark.parametrize(
    "path",
    [
        f"/libpod_parent/libpod-{ID}",
        f"/docker/{ID}",
        f"/system.slice/docker-{ID}.scope/x",
        f"/k8s.io/{ID}/{'f' * 64}",
    ],
)
def test_an_id_by_the_cgroup(path: str) -> None:
    assert container.of_cgroup(f"12:pids:/\n4:memory:{path}\n0::/\n") == ID[:12]


@pytest.mark.parametrize("path", ["/", "/user.slice", f"/x-{ID}0", f"/x-{ID[1:]}"])
def test_no_container(path: str) -> None:
    assert container.of_cgroup(f"0::{path}\n") is None
