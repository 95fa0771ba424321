"""What goes wrong where Python can tell nobody."""

from __future__ import annotations

import subprocess
import sys

from tests.framework.source_tree import ROOT


def test_no_traceback_of_what_is_ignored() -> None:
    """As at the end of an event loop for which there were no descriptors; in a process of its own."""
    code = """
import asyncio, gc, os, resource, sys
from vnicd.process import logs
logs.begin("info", {})
class Bad:
    def __del__(self):
        raise ValueError("bad end")
asyncio.new_event_loop().close()
resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")), 99))
try:
    asyncio.new_event_loop()
except OSError as error:
    print(error.strerror)
gc.collect()
Bad()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout) == (0, "Too many open files\n"), done.stderr
    (line,) = done.stderr.splitlines()
    assert line.endswith(" warning ValueError: bad end, in Bad.__del__")
