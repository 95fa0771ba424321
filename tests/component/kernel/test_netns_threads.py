"""Work in a namespace needs a thread of its own, and there may be no memory for its stack."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import resource
from pathlib import Path
from vnicd.kernel import netns

pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = (pages * resource.getpagesize()) + (1 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
try:
    netns.in_shared_mounts(lambda: None)
except OSError as error:
    print(error.strerror)
"""


def test_a_thread_that_cannot_start_is_an_error_of_the_system() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("no thread can be started\n", "")
