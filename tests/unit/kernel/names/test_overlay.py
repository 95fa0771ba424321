"""Files in /etc/netns: made whole, found again, taken away, and never somebody else's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.framework.descriptors import no_more_descriptors
from vnicd.kernel.names.overlay import Overlay, settle_common
from vnicd.spec import names

RESOLVE = "hosts: files resolve [!UNAVAIL=return] dns\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "netns"


def overlay(folder: Path, root: str = "/run/x") -> Overlay:
    return Overlay(root, folder, folder.with_name("nsswitch.conf"))


def files(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_they_come_and_go(folder: Path) -> None:
    made = overlay(folder)
    made.settle([])
    assert not folder.exists()
    made.settle(["blue", "green"])
    assert set(files(folder)) == {"blue/resolv.conf", "green/resolv.conf"}
    assert files(folder)["blue/resolv.conf"] == names.resolv_conf(names.mark("/run/x", "blue"))
    assert (folder / "blue/resolv.conf").stat().st_mode & 0o777 == 0o644
    overlay(folder).settle(["green"])
    assert set(files(folder)) == {"green/resolv.conf"}
    overlay(folder, "/run/y").settle([])
    assert set(files(folder)) == {"green/resolv.conf"}, "another fabric's"
    overlay(folder).settle([])
    assert not folder.exists()


def test_what_is_somebody_elses_stays(folder: Path) -> None:
    (folder / "blue").mkdir(parents=True)
    (folder / "blue/resolv.conf").write_text("nameserver 10.0.0.1\n")
    (folder / "green").mkdir()
    (folder / "green/hosts").write_text("")
    made = overlay(folder)
    made.settle(["blue", "green"])
    assert made.foreign == {"blue"}
    assert not made.problems
    assert set(files(folder)) == {"blue/resolv.conf", "green/hosts", "green/resolv.conf"}
    made.settle([])
    assert files(folder) == {"blue/resolv.conf": "nameserver 10.0.0.1\n", "green/hosts": ""}


def test_one_of_an_older_version_is_written_anew_and_a_lost_one_made_again(folder: Path) -> None:
    made = overlay(folder)
    made.settle(["blue"])
    path = folder / "blue/resolv.conf"
    path.write_text(names.mark("/run/x", "blue") + "\nnameserver 127.0.0.9\n")
    made.settle(["blue"])
    assert path.read_text() == names.resolv_conf(names.mark("/run/x", "blue"))
    path.unlink()
    made.settle(["blue"])
    assert path.exists()


def test_the_order_of_asking_where_systemd_has_its_own(folder: Path) -> None:
    folder.parent.joinpath("nsswitch.conf").write_text(RESOLVE)
    made = overlay(folder)
    made.settle(["blue"])
    assert files(folder)["blue/nsswitch.conf"].endswith("hosts: files dns\n")
    folder.parent.joinpath("nsswitch.conf").write_text("hosts: files dns\n")
    made.settle(["blue"])
    assert set(files(folder)) == {"blue/resolv.conf"}
    made.settle([])
    assert not folder.exists()


def test_what_was_left_half_done(folder: Path) -> None:
    folder.mkdir()
    text = names.resolv_conf(names.mark("/run/x", "blue"))
    (folder / ".blue.vnicd").write_text(text)
    (folder / ".green.vnicd").write_text(text.replace("/run/x", "/run/y"))
    (folder / ".x").write_text("")
    overlay(folder).settle(["blue"])
    assert set(files(folder)) == {".green.vnicd", ".x", "blue/resolv.conf"}
    overlay(folder).settle([])
    assert set(files(folder)) == {".green.vnicd", ".x"}


def test_what_can_not_be_written_is_told(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder.write_text("no folder")
    made = overlay(folder)
    for _ in range(3):
        made.settle(["blue"])
        assert "blue" in made.problems
    assert len(caplog.records) == 1
    made.settle([])
    assert not made.problems


def test_without_descriptors_no_file_is_taken_for_somebody_elses(folder: Path) -> None:
    """Or the names helper would answer no more in that partition."""
    made = overlay(folder)
    made.settle(["blue"])
    with no_more_descriptors(), pytest.raises(OSError, match="Too many open files"):
        made.settle(["blue"])
    assert (made.foreign, made.problems) == (set(), {})
    assert set(files(folder)) == {"blue/resolv.conf"}


def test_the_common_files(tmp_path: Path) -> None:
    folder, switch = tmp_path / "etc", tmp_path / "nsswitch.conf"
    switch.write_text(RESOLVE)
    settle_common(folder, False, switch)
    assert not folder.exists()
    settle_common(folder, True, switch)
    settle_common(folder, True, switch)
    assert {name.name for name in folder.iterdir()} == {"resolv.conf", "nsswitch.conf"}
    assert os.access(folder / "resolv.conf", os.R_OK)
    settle_common(folder, False, switch)
    assert not folder.exists()
