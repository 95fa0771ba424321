"""How a daemon logs: each line once with its time or its priority, into a file that is found again and has a size."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from vnicd.protocol import log_line

ROOT = Path(__file__).parents[3]


def run(code: str, stderr: Path | int, **environment: str) -> str:
    """What Python code does with a standard error that is a file, or a pipe, whose text is returned."""
    opened = stderr if isinstance(stderr, int) else stderr.open("ab")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, stderr=opened, text=True, env={**os.environ, **environment}
    )
    if not isinstance(opened, int):
        opened.close()
    assert done.returncode in (0, 1)
    return done.stderr or ""


def texts(path: Path) -> list[str]:
    """The messages of a log file, each of which has to have its time."""
    found = [log_line.parse(line) for line in path.read_text().splitlines()]
    assert all(line.time for line in found)
    return [line.text for line in found]


FILE = """
import logging, os, sys
from pathlib import Path
from vnicd.process import logs
path = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(os.environ["LOG"])
log = logging.getLogger("test")
logs.begin("info", {}, path)
"""


def test_a_log_file_is_made_anew_and_keeps_its_size(tmp_path: Path) -> None:
    path = tmp_path / "log/host.log"
    path.parent.mkdir()
    code = f"""{FILE}
logs._file.largest = 400
log.info("first")
path.rename(path.with_name("moved"))
log.info("after the move")
path.unlink()
logs.look()
assert path.exists()
path.parent.joinpath("moved").unlink(); path.unlink(); path.parent.rmdir()
log.info("after all was deleted")
os.truncate(path, 0)
log.info("after it was emptied")
for number in range(60):
    log.info("a long row of messages, of which this is number %d", number)
os.write(2, b"")
logs.leave_files()
"""
    run(code, path, LOG=str(path))
    kept = [path.with_name(f"host.log{end}") for end in (".2", ".1", "")]
    assert sorted(path.parent.iterdir()) == sorted(kept)
    assert all(each.stat().st_size <= 400 for each in kept)
    rows = [text for each in kept for text in texts(each)]
    assert [int(row.split()[-1]) for row in rows] == [*range(60)][-len(rows) :]
    assert len(rows) > 8


def test_a_file_that_was_moved_keeps_what_was_said_before(tmp_path: Path) -> None:
    path = tmp_path / "host.log"
    run(f'{FILE}\nlog.info("one")\npath.rename(path.with_name("old"))\nlog.error("two")', path, LOG=str(path))
    assert texts(tmp_path / "old") == ["one"]
    assert texts(path) == ["two"]


def test_a_full_disk_ends_nobody() -> None:
    assert run(f'{FILE}\nlog.info("one")\nlogs.look()', Path("/dev/full"), LOG="/dev/full") == ""


def test_what_ends_the_process_is_in_the_log(tmp_path: Path) -> None:
    path = tmp_path / "host.log"
    run(f"{FILE}\nimport no_such_module", path, LOG=str(path))
    assert texts(path)[0] == texts(path)[-1] == "ModuleNotFoundError: No module named 'no_such_module'"


def test_the_journal_is_told_by_its_stream() -> None:
    code = """
import logging, os
from vnicd.process import logs
facts = os.fstat(2)
os.environ["JOURNAL_STREAM"] = f"{facts.st_dev}:{facts.st_ino + int(os.environ['OFF'])}"
logs.begin("info", {}, small=True)
logging.getLogger("test").warning("one\\ntwo")
logging.getLogger("test").debug("not at this level")
"""
    assert run(code, subprocess.PIPE, OFF="0") == "<4>one\n<4>two\n"
    lines = run(code, subprocess.PIPE, OFF="1").splitlines()
    assert [log_line.parse(line)[1:] for line in lines] == [("warning", "one"), ("warning", "two")]
