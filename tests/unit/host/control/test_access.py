"""Who may do what on the control socket: the rules, and the kernel's word for who a client is."""

from __future__ import annotations

import ast
import grp
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.framework.fabric.users import NOBODY, connect, open_folder
from vnicd.errors import Invalid, NotPermitted
from vnicd.host import main
from vnicd.host.control import access
from vnicd.host.control.access import RULES, Rule, check
from vnicd.process import readers, unix_sockets
from vnicd.protocol.control import MAX_REQUEST

READING = {"fabric.check", "fabric.ping", "status", "links", "stats", "partition.list", "partition.show", "uplink.show",
           "config.export", "sockets.list", "publish.list"}  # fmt: skip
CHANGING = set(RULES) - READING


def methods_of_host() -> set[str]:
    """The names that the hosting daemon answers to."""
    tree = ast.parse(Path(main.__file__).read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    server = next(call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "Server")
    methods = server.args[0]
    assert isinstance(methods, ast.Dict)
    return {key.value for key in methods.keys if isinstance(key, ast.Constant) and isinstance(key.value, str)}


def test_each_method_of_the_host_has_a_rule() -> None:
    found = methods_of_host()
    assert {"status", "partition.add"} <= found
    assert found <= set(RULES)


def test_who_is_not_root_only_reads() -> None:
    assert {name for name, rule in RULES.items() if not rule.change} == READING
    for name in READING:
        check(1000, name, {})
    for name in CHANGING:
        with pytest.raises(NotPermitted, match=r"^only root can ") as caught:
            check(1000, name, {})
        assert "sudo" in caught.value.hint
        check(0, name, {})


def test_reading_that_is_for_root_leaves_no_line_in_the_log() -> None:
    assert {name for name in CHANGING if RULES[name].reads} == {"debug.link"}


def test_a_method_without_a_rule_is_for_root() -> None:
    check(0, "new", {"a": 1})
    with pytest.raises(NotPermitted):
        check(1000, "new", {})


def test_permission_is_looked_at_first() -> None:
    """Whoever may not use a method is told so, whatever else is wrong."""
    with pytest.raises(NotPermitted):
        check(1000, "partition.remove", {"nonsense": 1})


@pytest.mark.parametrize("uid", [0, 1000])
@pytest.mark.parametrize("name", sorted(READING))
def test_an_unknown_parameter(uid: int, name: str) -> None:
    with pytest.raises(Invalid, match="no parameter nonsense"):
        check(uid, name, {"nonsense": 1})


@pytest.mark.parametrize(
    ("name", "params", "word"),
    [("stats", {"name": 3}, "text"), ("stats", {"name": None}, "text"), ("partition.show", {"name": ["a"]}, "text"),
     ("partition.remove", {"name": {}}, "text"), ("fabric.apply", {"declared": []}, "object"),
     ("fabric.apply", {"declared": {}, "dry_run": 1}, "true or false")],
)  # fmt: skip
def test_a_parameter_of_the_wrong_type(name: str, params: dict[str, Any], word: str) -> None:
    with pytest.raises(Invalid, match=word):
        check(0, name, params)


def test_parameters_that_are_as_they_should_be() -> None:
    check(0, "fabric.apply", {"declared": {"partitions": {}}, "dry_run": True})
    check(1000, "stats", {"name": "blue"})
    check(0, "partition.add", {"anything": 1})  # it checks them itself


def test_every_type_has_a_name() -> None:
    kinds = {kind for rule in RULES.values() for kind in (rule.params or {}).values()}
    assert kinds == set(access.TYPE_NAMES)


def test_other_rules() -> None:
    check(1000, "echo", {"a": 1}, {"echo": Rule()})


def test_only_root_may_say_much() -> None:
    assert access.longest_request(0) == MAX_REQUEST
    assert access.longest_request(1000) == access.MAX_READING_REQUEST < MAX_REQUEST


@pytest.mark.root
@pytest.mark.parametrize(("uid", "gid"), [(NOBODY, NOBODY), (4_000_000_000, 1), (1, 0)])
def test_the_kernel_tells_who_connects(uid: int, gid: int) -> None:
    with open_folder() as folder, socket.socket(socket.AF_UNIX) as listener:
        path = folder / "sock"
        listener.bind(str(path))
        path.chmod(0o666)
        listener.listen()
        for who, group in ((uid, gid), (0, 0)):
            with connect(path, who, group)[0], listener.accept()[0] as accepted:
                assert unix_sockets.peer(accepted) == (who, os.getpid())


@pytest.mark.root
def test_a_socket_is_opened_to_the_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    group = next(entry for entry in grp.getgrall() if entry.gr_gid)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "sock"))
        for name, gid in ((group.gr_name, group.gr_gid), ("there-is-no-such-group", 0)):
            monkeypatch.setattr(readers, "GROUP", name)
            access.open_to_group(tmp_path / "sock")
            status = (tmp_path / "sock").stat()
            assert (status.st_mode & 0o7777, status.st_uid, status.st_gid) == (0o660, 0, gid)
