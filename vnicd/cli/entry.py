"""The program vnicctl: Ctrl-C ends it without a traceback also while Python still loads it, and when it ends."""

from __future__ import annotations

import signal

_IS_IGNORED = signal.getsignal(signal.SIGINT) is signal.SIG_IGN

if not _IS_IGNORED:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def main() -> int:
    from vnicd.cli.main import main as run

    if not _IS_IGNORED:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return run()
    finally:
        if not _IS_IGNORED:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
