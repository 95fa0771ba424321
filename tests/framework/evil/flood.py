"""Frames without end, from who is root in a partition: a program of its own, so that it takes no turn of a test's.

    flood.py INTERFACE SECONDS PER_SECOND    sends the vnet header and frame on its input;

prints a line when it begins, and at the end how often it has sent it.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
import time

SOL_PACKET, PACKET_VNET_HDR = 263, 15


def flood(interface: str, seconds: float, per_second: float, data: bytes) -> int:
    """The interface's queue may be full, and then the frame is lost."""
    pause, count, begin = threading.Event(), 0, time.monotonic()
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
        sock.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        sock.bind((interface, 0))
        sock.setblocking(False)
        print("begun", flush=True)
        while (passed := time.monotonic() - begin) < seconds:
            while count < passed * per_second:
                count += 1
                with contextlib.suppress(OSError):
                    sock.send(data)
            pause.wait(0.001)
    return count


if __name__ == "__main__":
    print(flood(sys.argv[1], float(sys.argv[2]), float(sys.argv[3]), sys.stdin.buffer.read()))
