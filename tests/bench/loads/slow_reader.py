"""What a partition can still send to one peer while another peer frees its ring one record at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.framework.datapath.loops import LoopBench
from tests.framework.datapath.peer import Peer, frame

MACS = {1: "02:00:00:00:00:01", 2: "02:00:00:00:00:02", 3: "02:00:00:00:00:03"}
SENDER, SLOW, THIRD = MACS
LARGE, SMALL = 60_000, 1000
"""Bytes of a frame to the slow peer, and of those to the third."""
SMALL_FOR_EACH_LARGE = 4

FREES_EVERY_S = 0.008
"""Just within the time that a sender waits for a peer that frees nothing."""
LOOKS_EVERY_S = 0.0002
"""How often the third looks into its ring."""


def frames_to_the_third(seconds: float) -> float:
    """Frames per second that reach the third peer, of one loop in this process."""
    with LoopBench(SENDER, MACS) as bench:
        slow, third, over = bench.direct(SLOW), bench.direct(THIRD), threading.Event()
        with _running(over, lambda: _feed(bench, over), lambda: _free_slowly(slow, over)):
            received, end = 0, time.monotonic() + seconds
            while time.monotonic() < end:
                while third.receive():
                    received += 1
                over.wait(LOOKS_EVERY_S)
    return received / seconds


@contextmanager
def _running(over: threading.Event, *bodies: Callable[[], None]) -> Iterator[None]:
    threads = [threading.Thread(target=body) for body in bodies]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def _feed(bench: LoopBench, over: threading.Event) -> None:
    """Sends to both as fast as the loop takes it."""
    to_slow = frame(MACS[SLOW], MACS[SENDER], bytes(LARGE))
    to_third = frame(MACS[THIRD], MACS[SENDER], bytes(SMALL))
    bench.tap.settimeout(0.5)
    while not over.is_set():
        try:
            bench.tap_send(to_slow)
            for _ in range(SMALL_FOR_EACH_LARGE):
                bench.tap_send(to_third)
        except TimeoutError:
            continue


def _free_slowly(peer: Peer, over: threading.Event) -> None:
    while not over.wait(FREES_EVERY_S):
        peer.receive()
