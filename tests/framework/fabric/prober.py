"""A process that asks the hosting daemon for a sign of life whenever it is told to, and says how long that took."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

from vnicd.protocol.control import Client


class Prober:
    """The process; it is a client of its own, whatever connections the tests hold."""

    def __init__(self, control: Path) -> None:
        argv = [sys.executable, "-m", "tests.framework.fabric.prober", str(control)]
        self.process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def __enter__(self) -> Prober:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.process.kill()
        self.process.communicate()

    def time(self) -> float:
        """Seconds from the wish to connect to the answer."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write("\n")
        return float(self.process.stdout.readline())


def main() -> None:
    client = Client(Path(sys.argv[1]))
    for _ in sys.stdin:
        begin = time.monotonic()
        assert client.call("fabric.ping")["ready"]
        print(time.monotonic() - begin, flush=True)


if __name__ == "__main__":
    main()
