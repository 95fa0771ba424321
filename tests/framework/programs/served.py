"""A file of a file system that a stranger serves (FUSE): what it says of itself is up to him."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread

INIT, GETATTR = 26, 3
MNT_DETACH = 2
DIRECTORY = 0o40755

_libc = ctypes.CDLL(None, use_errno=True)


def _answer(unique: int, data: bytes) -> bytes:
    return struct.pack("=IiQ", 16 + len(data), 0, unique) + data


def _serve(fuse: int, inode: int, end: Event) -> None:
    """Until nobody has the file; with inode 0 who asks of it waits until the end."""
    with suppress(OSError):
        while True:
            request = os.read(fuse, 1 << 20)
            _, opcode, unique = struct.unpack_from("=IIQ", request)
            if opcode == INIT:
                os.write(fuse, _answer(unique, struct.pack("=IIIIHHII32x", 7, 31, 0, 0, 0, 0, 4096, 1)))
            elif opcode == GETATTR and not inode:
                end.wait()
                break
            elif opcode == GETATTR:
                numbers = struct.pack("=QQQQQQIIIIIIIIII", inode, *[0] * 8, DIRECTORY, 1, *[0] * 5)
                os.write(fuse, _answer(unique, struct.pack("=QII", 0, 0, 0) + numbers))
    os.close(fuse)


@contextmanager
def served(folder: Path, inode: int = 0) -> Iterator[int]:
    """A descriptor of a file with this inode number, or of one that nothing can be learnt of: who asks waits."""
    fuse = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={fuse},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
    if _libc.mount(b"fuse", bytes(folder), b"fuse", 0, options) != 0:
        raise OSError(ctypes.get_errno(), "a file system can't be mounted")
    end = Event()
    server = Thread(target=_serve, args=[fuse, inode, end], daemon=True)
    server.start()
    fd = os.open(folder, os.O_PATH)
    _libc.umount2(bytes(folder), MNT_DETACH)
    try:
        yield fd
    finally:
        end.set()
        os.close(fd)
        server.join(5)
