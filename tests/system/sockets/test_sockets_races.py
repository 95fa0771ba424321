"""Threads that share connections and epolls, under the thread sanitizer: no access races with another."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cases.case import Case, matching
from tests.cases.difference import difference
from tests.cases.run import run
from tests.cases.site import ROOT, Site
from tests.framework.sockets.direct import LIBRARY

CASES = [
    case
    for case in matching(
        [
            "wakeups",
            "cancellation/cancel_*",
            "reading/nested*",
            "reading/splice_beside_reader",
            "signals/handler_sends",
            "signals/messages_apart",
        ]
    )
    if "direct" in case.ways and case.program.suffix == ".c" and not case.name.endswith("_keeps_the_end")
]
"""One program each, in which both ends are direct: the sanitizer follows the threads of one process.

Other programs that a case starts do not run under it, and a child of a program with threads has traces of threads
that it does not have.
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    if not LIBRARY.exists():
        pytest.skip(f"no {LIBRARY}: run scripts/setup")
    folder = tmp_path_factory.mktemp("races")
    words = ["build_preload", "--into", str(folder), "--temp", str(folder / "objects")]
    environment = os.environ | {"VNICD_SANITIZE": "thread"}
    subprocess.run([sys.executable, "setup.py", "--quiet", *words], cwd=ROOT, env=environment, check=True)
    with Site(folder / LIBRARY.name, folder, ["-fsanitize=thread"], ROOT) as made:
        yield made


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_nothing_races(site: Site, case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It prints what it has to, and the sanitizer has nothing to say."""
    monkeypatch.setenv("TSAN_OPTIONS", f"log_path={tmp_path}/report report_signal_unsafe=0")
    outcome = run(site, case, "direct", limit=30)
    reports = "".join(path.read_text(errors="replace") for path in sorted(tmp_path.glob("report*")))
    assert not reports, reports[:6000]
    assert outcome.is_right, "\n".join([f"{case.name}:", *difference(outcome)])
