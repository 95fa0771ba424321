"""Files that lead programs to the names, and whose they are."""

from __future__ import annotations

import pytest

from vnicd.spec import names


def test_whose_file_it_is() -> None:
    first = names.resolv_conf(names.mark("/run/a b", "web.1")).partition("\n")[0]
    assert names.owner(first, "/run/a b") == "web.1"
    assert names.owner(first, "/run/a") == ""
    assert names.owner(f"{first} ", "/run/a b") == ""
    assert names.owner("# Made by vnicd", "/run/a b") == ""
    odd = "/run/x\n' of y"
    assert names.owner(names.mark(odd, "blue"), odd) == "blue"
    assert "\n" not in names.mark(odd, "blue")


@pytest.mark.parametrize(
    ("machine", "line"),
    [
        ("", None),
        ("passwd: files\nhosts: files dns\n", None),
        (
            "hosts: files mymachines resolve [!UNAVAIL=return] files dns # as systemd has it\n",
            "hosts: files files dns",
        ),
        ("hosts: mymachines resolve [!UNAVAIL=return] files myhostname dns\n", "hosts: files myhostname dns"),
        ("hosts:\tfiles resolve [!UNAVAIL=return]\n", "hosts: files dns"),
        (
            "hosts: files mdns4_minimal [NOTFOUND=return] resolve dns",
            "hosts: files mdns4_minimal [NOTFOUND=return] dns",
        ),
        ("# hosts: resolve\nhosts: files dns\n", None),
    ],
)
def test_the_c_library_does_not_ask_a_daemon_of_the_machine(machine: str, line: str | None) -> None:
    text = names.nsswitch_conf("# ours", f"passwd: files\n{machine}")
    if line is None:
        assert text == ""
    else:
        assert text.splitlines()[0] == "# ours"
        assert text.splitlines()[1] == "passwd: files"
        assert text.splitlines()[2] == line
