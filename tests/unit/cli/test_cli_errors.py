"""What vnicctl says when something is wrong: one line on standard error, and an exit code that tells it."""

from __future__ import annotations

import errno
import json
import socket
import threading
from pathlib import Path

import pytest

from tests.framework.control.fakehost import FakeHost
from tests.framework.fixtures import ErrorLine
from vnicd.cli.main import main
from vnicd.errors import BY_CODE, from_code

pytestmark = pytest.mark.usefixtures("runtime")

Captured = pytest.CaptureFixture[str]


@pytest.mark.parametrize("code", sorted(BY_CODE))
def test_every_error_of_the_host(host: FakeHost, error_line: ErrorLine, code: str) -> None:
    host.answers["partition.remove"] = from_code(code, "it is\nwrong", "mend it")
    assert main(["partition", "rm", "blue"]) == BY_CODE[code].exit_code
    assert error_line() == "it is wrong; mend it"


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("\x1b[2Jx\x07", "\\x1b[2Jx\\x07"),
        ("\u202egnorw", "\\u202egnorw"),
        ("a\ud800", "a\\ud800"),
        ("x" * 100_000 + "end", "x" * 300 + " ... " + "x" * 97 + "end"),
    ],
)
def test_an_error_can_be_shown_whatever_words_are_in_it(
    host: FakeHost, error_line: ErrorLine, word: str, shown: str
) -> None:
    """No control character reaches the terminal, and what is long loses its middle."""
    host.answers["partition.remove"] = from_code("invalid", word, word)
    assert main(["partition", "rm", "blue"]) == 7
    assert error_line() == f"{shown}; {shown}"


def test_exit_codes_are_distinct() -> None:
    assert len({cls.exit_code for cls in BY_CODE.values()}) == len(BY_CODE)


@pytest.mark.parametrize(
    "argv",
    [
        ["status"],
        ["links"],
        ["stats", "blue"],
        ["partition", "ls"],
        ["partition", "add", "blue"],
    ],
)
def test_not_running(error_line: ErrorLine, argv: list[str]) -> None:
    assert main(argv) == 3
    assert error_line().endswith("; start one with: vnicctl up")


def test_not_running_with_the_socket_of_a_killed_daemon(error_line: ErrorLine, runtime: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(runtime / "control.sock"))
    assert main(["status"]) == 3
    error_line()


@pytest.mark.parametrize(
    "argv",
    [
        ["a/b"],
        ["host"],
        [""],
        ["blue", "--mtu", "70000"],
        ["blue", "--mtu", "1000", "--address", "fd00::1/64"],
        ["blue", "--address", "10.77.0.1"],
        ["blue", "--address", "10.77.0.0/24"],
        ["blue", "--mac", "01:00:00:00:00:01"],
        ["blue", "--ifname", "much-too-long-a-name"],
        ["blue", "--netns", "run/netns/web"],
    ],
)
def test_bad_words_are_refused_without_asking_the_host(
    host: FakeHost, error_line: ErrorLine, argv: list[str]
) -> None:
    assert main(["partition", "add", *argv]) == 7
    error_line()
    assert host.requests == []


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["partiton"], "no such command 'partiton'; did you mean vnicctl partition?"),
        (
            ["add", "blue"],
            "no such command 'add'; did you mean vnicctl partition add or vnicctl network add or vnicctl publish add?",
        ),
        (["partition", "lst"], "no such command 'lst'; did you mean vnicctl partition list?"),
        (["partition", "status"], "no such command 'status'; did you mean vnicctl status?"),
        (["start"], "no such command 'start'; did you mean vnicctl up?"),
        (["xyzzy"], "no such command 'xyzzy'; try: vnicctl --help"),
        (["partition", "add"], "missing argument 'NAME'; try: vnicctl partition add --help"),
        (["status", "blue"], "got unexpected extra argument (blue); try: vnicctl status --help"),
        (["status", "--yaml"], "no such option --yaml; try: vnicctl status --help"),
        (
            ["partition", "list", "--network", "fast"],
            "--network stands before the command; as in: vnicctl --network NAME partition list",
        ),
        (["status", "--jso"], "no such option --jso; did you mean --json?"),
        (["status", "--format", "{name"], "--format: expected '}' before end of string; try: vnicctl status"),
        (["partition", "ls", "-q", "--format", "{name}"], "--json, --format and --quiet exclude each other"),
    ],
)
def test_usage(error_line: ErrorLine, argv: list[str], line: str) -> None:
    assert main(argv) == 2
    assert error_line().startswith(line)


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("partition add blue --mtu big", "--mtu must be a whole number"),
        ("up --idle-timeout 10s", "--idle-timeout must be a number of seconds"),
        ("up --poll-us 99999", "the polling time must be 0 to 1000 microseconds, not 99999"),
        ("up --hugepages foo", "hugepages must be auto, require or never, not foo"),
        ("partition wait blue --until gone", "--until must be up, down or removed"),
        ("partition wait blue --timeout -1", "--timeout must be a number of seconds, 0 or more"),
        ("status --watch 0", "--watch must be a number of seconds, 0.1 to 86400"),
        ("status --watch nan", "--watch must be a number of seconds, 0.1 to 86400"),
        ("partition wait blue --timeout inf", "--timeout must be a number of seconds, 0 or more"),
        ("completion tcsh", "SHELL must be bash, zsh or fish"),
    ],
)
def test_wrong_values(error_line: ErrorLine, words: str, wanted: str) -> None:
    """Whoever finds that a value is wrong, the exit code is the same."""
    assert main(words.split()) == 7
    assert error_line().partition("; ")[0] == wanted


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize(
    ("argv", "code", "exit_code"),
    [
        (["stats", "bleu", "--json"], "not_found", 5),
        (["stats", "bleu", "--format", "json"], "not_found", 5),
        (["--json", "status"], "usage", 2),
        (["statu", "--format=json"], "usage", 2),
        (["sockets", "--library", "--json"], "usage", 2),
        (["debug", "trace", "--lines", "0", "--json"], "invalid", 7),
    ],
)
def test_an_error_is_a_document_where_one_was_asked_for(
    host: FakeHost, capsys: Captured, argv: list[str], code: str, exit_code: int
) -> None:
    """And the line on standard error is there all the same."""
    host.answers["stats"] = from_code("not_found", "there is no partition bleu", "list them")
    assert main(argv) == exit_code
    captured = capsys.readouterr()
    error = json.loads(captured.out)["error"]
    assert error["code"] == code
    assert captured.err == f"vnicctl: {error['message']}; {error['hint']}\n"


def test_a_command_that_has_printed_its_document_prints_no_other(
    host: FakeHost, capsys: Captured, runtime: Path
) -> None:
    (runtime / "lab.toml").write_text("[partitions.web]")
    error = {"code": "taken", "message": "it is taken", "hint": ""}
    change = {
        "op": "add",
        "kind": "partition",
        "name": "web",
        "fields": {},
        "done": False,
        "error": error,
        "note": "",
    }
    host.answers["fabric.apply"] = {"changes": [change], "kept": [], "refused": False}
    assert main(["apply", str(runtime / "lab.toml"), "--json"]) == 8
    captured = capsys.readouterr()
    assert json.loads(captured.out)["changes"] == [change]
    assert captured.err == "vnicctl: it is taken\n"


@pytest.mark.parametrize(
    "argv", [["stats", "gren"], ["partition", "rm", "gren"], ["debug", "link", "blue", "gren"]]
)
def test_a_similar_partition_is_suggested(host: FakeHost, error_line: ErrorLine, argv: list[str]) -> None:
    for method in ("stats", "partition.remove", "debug.link"):
        host.answers[method] = from_code("not_found", "there is no partition gren", "list them")
    assert main(argv) == 5
    assert error_line() == "there is no partition gren; did you mean green?"
    host.answers["partition.list"] = {"partitions": []}
    assert main(argv) == 5
    assert error_line() == "there is no partition gren; list them"


@pytest.mark.parametrize("argv", [[], ["partition"]])
def test_a_group_alone_shows_its_help(capsys: Captured, argv: list[str]) -> None:
    assert main(argv) == 2
    assert "Commands:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (OSError(errno.EMFILE, "Too many open files"), 14, "Too many open files"),
        (OSError(errno.ENOSPC, "No space left", "/run/x"), 14, "/run/x: No space left"),
        (PermissionError(errno.EACCES, "Permission denied", "/run/x"), 11, "/run/x: Permission denied"),
        (OSError("AF_UNIX path too long"), 1, "AF_UNIX path too long"),
        (MemoryError(), 14, "out of memory"),
        (
            ZeroDivisionError("by\nzero"),
            1,
            "internal error: ZeroDivisionError: by zero; set VNICD_DEBUG=1 to see where",
        ),
    ],
)
def test_unexpected_errors(
    error_line: ErrorLine, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int, line: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("vnicd.cli.output.emit", fail)
    monkeypatch.setattr("vnicd.cli.commands.status.call", lambda _: {})
    assert main(["status"]) == code
    assert error_line() == line


@pytest.mark.parametrize("answer", [b"{}\n", b"nonsense\n", b"[]\n", b'{"error": {}}\n', b"\xff\n"])
def test_an_answer_that_is_none(host: FakeHost, error_line: ErrorLine, answer: bytes) -> None:
    host.answers["status"] = lambda _: answer
    assert main(["status"]) in (1, 3)
    error_line()


def test_a_runtime_directory_with_too_long_a_path(
    error_line: ErrorLine, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VNICD_RUNTIME_DIR", str(runtime / ("x" * 120)))
    assert main(["status"]) in (1, 7)
    error_line()


@pytest.mark.parametrize("below", [".", "below/it"])
@pytest.mark.parametrize("argv", [["status"], ["up"], ["down"], ["partition", "wait", "x"]])
def test_a_runtime_directory_that_is_a_file(
    error_line: ErrorLine, runtime: Path, monkeypatch: pytest.MonkeyPatch, argv: list[str], below: str
) -> None:
    file = runtime / "file"
    file.touch()
    monkeypatch.setenv("VNICD_RUNTIME_DIR", str(file / below))
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert main(argv) == 7
    assert error_line() == f"{file} is not a directory; set VNICD_RUNTIME_DIR to another"


def test_debug_shows_where(host: FakeHost, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VNICD_DEBUG", "1")
    host.answers["status"] = from_code("failed", "it is wrong")
    assert main(["status"]) == 1
    error = capsys.readouterr().err
    assert "Traceback" in error
    assert error.endswith("vnicctl: it is wrong\n")


def test_a_host_that_hangs(host: FakeHost, error_line: ErrorLine, monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    host.answers["partition.remove"] = lambda _: release.wait(10)
    monkeypatch.setattr("vnicd.cli.commands.groups.partition.CHANGE_TIMEOUT", 0.1)
    assert main(["partition", "rm", "blue"]) == 13
    error_line()
    release.set()
