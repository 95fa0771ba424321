"""What the names helper logs: in the form of all logs, and in the file that it is handed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

from tests.framework.source_tree import ROOT
from tests.framework.waiting import wait_until
from vnicd.process import logs
from vnicd.protocol import log_line, registration


def test_it_logs_as_others_do_and_follows_the_log(tmp_path: Path) -> None:
    paths = [tmp_path / "host.log.1", tmp_path / "host.log"]
    first, second = (logs.open_log(path) for path in paths)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    words = [sys.executable, "-m", "vnicd", "names"]
    with theirs, subprocess.Popen(words, stdin=theirs, stdout=first, stderr=first, cwd=ROOT) as helper:
        theirs.close()
        for number, path in enumerate(paths):
            registration.send(ours, {"op": "forward", "wrong": number}, [])  # without what it needs
            wait_until(lambda path=path: path.read_text(), 20, f"a line in {path}")
            registration.send(ours, {"op": "log", "level": "info"}, [second])
            registration.send(ours, {"op": "serve", "id": 1}, [])
        ours.close()
        assert helper.wait(20) == 0
    os.close(first)
    os.close(second)
    before, after = (path.read_text().splitlines() for path in paths)
    assert [log_line.parse(line)[1:] for line in before] == [("error", "the names helper: KeyError('on')")]
    assert log_line.parse(after[0]).level == "error"
    assert log_line.parse(after[0]).text.startswith("the names helper: ValueError(")
