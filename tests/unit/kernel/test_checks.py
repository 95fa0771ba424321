"""The facts behind doctor: each check says what it found and how to mend it, and none can break the others."""

from __future__ import annotations

import errno
import json
import os
import platform
import resource
from pathlib import Path

import pytest

from tests.framework.descriptors import open_fds
from vnicd.kernel import checks
from vnicd.kernel.checks import Finding
from vnicd.native import memory


def no_memory(*args: object, **options: object) -> None:
    raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))


def test_all_checks_run_here_and_leave_nothing() -> None:
    before = open_fds()
    home = Path("/proc/self/ns/net").readlink()
    found = checks.run()
    assert [item["name"] for item in found] == list(checks.CHECKS)
    for item in found:
        assert set(item) == {"name", "status", "detail", "remedy"}
        assert item["status"] in ("ok", "skip", "warn", "fail")
        assert item["detail"] and "broke" not in item["detail"]
        assert (item["remedy"] is None) == (item["status"] == "ok")
    assert json.loads(json.dumps(found)) == found
    assert Path("/proc/self/ns/net").readlink() == home
    assert open_fds() == before


def finding(status: str) -> Finding:
    return status, f"it is {status}", None if status == "ok" else "mend it"


@pytest.mark.parametrize(("worst", "code"), [("ok", 0), ("warn", 1), ("skip", 1), ("fail", 2)])
def test_the_worst_finding_decides_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], worst: str, code: int
) -> None:
    monkeypatch.setattr(checks, "CHECKS", {"one": lambda: finding("ok"), "two": lambda: finding(worst)})
    assert checks.main(as_json=True) == code
    document = json.loads(capsys.readouterr().out)
    assert document["checks"][1] == {
        "name": "two", "status": worst, "detail": f"it is {worst}", "remedy": finding(worst)[2]
    }  # fmt: skip
    assert checks.main(as_json=False) == code
    assert [line.split()[:2] for line in capsys.readouterr().out.splitlines()] == [
        ["ok", "one"],
        [worst, "two"],
    ]


def test_a_check_that_breaks_is_a_failed_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Finding:
        raise RuntimeError("oops")

    monkeypatch.setattr(checks, "CHECKS", {"bad": broken, "good": lambda: finding("ok")})
    bad, good = checks.run()
    assert (bad["status"], good["status"]) == ("fail", "ok")
    assert "oops" in bad["detail"]


@pytest.mark.parametrize(
    ("release", "status"),
    [("5.15.0-91-generic", "ok"), ("6.1.0-18-amd64", "ok"), ("6.6.87.2-microsoft-standard-WSL2", "ok"), ("7.0.0", "ok"),
     ("6.18.0-rc1+", "ok"), ("6.9.0+", "ok"), ("5.14.21-default", "fail"), ("5.4.0", "fail"), ("4.19.0", "fail")],
)  # fmt: skip
def test_kernels(monkeypatch: pytest.MonkeyPatch, release: str, status: str) -> None:
    monkeypatch.setattr(platform, "release", lambda: release)
    found, detail, remedy = checks.check_kernel()
    assert (found, release in detail, remedy is None) == (status, True, status == "ok")


@pytest.mark.parametrize(("uid", "status"), [(0, "ok"), (1000, "skip")])
def test_root(monkeypatch: pytest.MonkeyPatch, uid: int, status: str) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    assert checks.check_root()[0] == status


def test_who_is_not_root_is_told_what_was_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not that it does not work."""

    def denied(*args: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "open", denied)
    for name in ("root", "tun", "namespaces", "tap", "descriptors"):
        status, _, remedy = checks.CHECKS[name]()
        assert (status, remedy) == ("skip", checks.AS_ROOT)


def test_no_tun(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*args: object) -> int:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory")

    monkeypatch.setattr(os, "open", gone)
    status, detail, remedy = checks.check_tun()
    assert (status, detail) == ("fail", "/dev/net/tun: No such file or directory")
    assert remedy is not None and "modprobe tun" in remedy


def test_no_namespaces_and_no_tap(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*args: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(checks, "inside", refused)
    for check in (checks.check_namespaces, checks.check_tap):
        status, detail, remedy = check()
        assert status == "fail" and "Operation not permitted" in detail and remedy


@pytest.mark.parametrize(
    ("available", "limit", "status"),
    [
        (True, None, "ok"),
        (True, "0", "ok"),
        (False, "0\n", "ok"),
        (False, "512\n", "warn"),
        (False, None, "warn"),
    ],
)
def test_hugepages(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, available: bool, limit: str | None, status: str
) -> None:
    path = tmp_path / "limit"
    if limit is not None:
        path.write_text(limit)
    monkeypatch.setattr(checks, "OVERCOMMIT", path)
    monkeypatch.setattr(memory, "huge_pages_available", lambda: available)
    found, _, remedy = checks.check_hugepages()
    assert (found, remedy is None) == (status, status == "ok")


def test_hugepages_on_demand_are_not_promised_where_the_limit_can_not_be_raised(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In most containers /sys is mounted read-only; `up` then runs on ordinary pages."""
    path = tmp_path / "limit"
    path.write_text("0\n")
    monkeypatch.setattr(checks, "OVERCOMMIT", path)
    monkeypatch.setattr(memory, "huge_pages_available", lambda: False)
    monkeypatch.setattr(os, "access", lambda *args, **options: False)
    assert checks.check_hugepages()[0] == "warn"


def test_no_sealed_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "create", no_memory)
    status, detail, _ = checks.check_memfd()
    assert (status, "Cannot allocate memory" in detail) == ("fail", True)


@pytest.mark.parametrize(("hard", "status"), [(1024, "warn"), (4095, "warn"), (4096, "ok"), (1 << 20, "ok")])
def test_descriptors(monkeypatch: pytest.MonkeyPatch, hard: int, status: str) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (1024, hard))
    assert checks.check_descriptors()[0] == status
