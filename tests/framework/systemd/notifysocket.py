"""The socket that systemd listens at for what daemons say of themselves (sd_notify(3)), as a test reads it."""

from __future__ import annotations

import socket
from pathlib import Path
from types import TracebackType


class NotifySocket:
    """A context manager; `environment` is what a daemon finds it by."""

    def __init__(self, address: Path | str) -> None:
        self.address = str(address)
        self.environment = {"NOTIFY_SOCKET": self.address}
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.bind(self.address.replace("@", "\0", 1))

    def __enter__(self) -> NotifySocket:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._sock.close()
        if not self.address.startswith("@"):
            Path(self.address).unlink()

    def said(self) -> list[dict[str, str]]:
        """What came since the last time, each message by its variables."""
        found = []
        while True:
            try:
                text = self._sock.recv(1 << 16, socket.MSG_DONTWAIT).decode()
            except BlockingIOError:
                return found
            found.append(dict(line.split("=", 1) for line in text.split("\n")))
