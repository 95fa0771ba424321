"""What the rows of HTTP servers share: clients that check each answer, ab with a time limit, a load for reloads."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterator
from contextlib import contextmanager

from tests.compat.case import Case, script
from tests.compat.program import Holder
from tests.framework.waiting import wait_until

FILE = random.Random(3).randbytes(3 << 20)
"""A file that servers send."""

DIGEST = hashlib.sha256(FILE).hexdigest()
AB_LIMIT_S = 6
"""400 requests take a fraction of a second; a fifth of a second for each connection would take longer than this."""

HELD_REQUEST = r"GET /file HTTP/1.1\r\nHost: compat\r\n\r\n"


def ask(case: Case, count: int, kind: str, what: str, port: int = 0) -> None:
    """So many requests with `keep` or `close`, of an echo or of a file; all must be answered right."""
    host, own = case.where
    done = case.client.run(script("ask_http.py", host, str(port or own), str(count), kind, what), check=False)
    text = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == 0, f"{kind}: {text[-400:]}"


def ask_file(case: Case, path: str = "/file", port: int = 0) -> None:
    """The file by a kept connection and by new ones."""
    for kind in ("keep", "close"):
        ask(case, 20, kind, f"{DIGEST}@{path}", port)


def ab(case: Case, *options: str, path: str = "file", count: int = 400, seconds: float = AB_LIMIT_S) -> None:
    """ab with ten connections at once: all requests are answered, and within so many seconds."""
    argv = ["ab", "-q", "-n", str(count), "-c", "10", *options, case.url(path)]
    said = case.run(argv, timeout=seconds)
    check_ab(said, count)


def check_ab(said: str, count: int) -> None:
    found = {key: int(value) for key, value in re.findall(r"^([A-Z][\w -]+):\s+(\d+)", said, re.MULTILINE)}
    assert found.get("Complete requests", 0) >= count, (
        f"{found.get('Complete requests')} requests: {said[-200:]}"
    )
    kinds = re.search(r"Connect: \d+, Receive: \d+, Length: \d+, Exceptions: \d+", said)
    assert found["Failed requests"] == 0, (
        f"{found['Failed requests']} requests failed ({kinds and kinds.group()})"
    )
    assert "Non-2xx responses" not in found, f"{found['Non-2xx responses']} bad answers"


def hold(case: Case) -> Holder:
    """A kept connection on which the file was fetched."""
    return case.hold_open(HELD_REQUEST, len(FILE))


@contextmanager
def load(case: Case, path: str = "small") -> Iterator[None]:
    """ab makes new connections all the while; none of its requests may fail."""
    argv = ["ab", "-q", "-r", "-n", "100000000", "-t", "4", "-c", "4", case.url(path)]
    process = case.start(case.client, argv, "load")
    yield
    wait_until(lambda: process.poll() is not None, 30, "the load has ended")
    said = (case.folder / "load.log").read_text()
    assert process.returncode == 0, f"ab: exit {process.returncode}: {said[-200:]}"
    check_ab(said, 20)
