from collections.abc import Sequence
from typing import Any

from vnicd.native.memory import Region

FREE: int
LIVE: int
DOWN: int
UPLINK: int
GUARD: int
MAX_PORTS: int
MAX_ADDRESSES: int
SIZE: int

class Writer:
    region: Region
    def put(
        self,
        port: int,
        state: int,
        mac: str,
        generation: int,
        mtu: int,
        addresses: Sequence[str],
        queue_ms: int = 0,
    ) -> None: ...
    def set_flags(self, flags: int) -> None: ...
    @property
    def flags(self) -> int: ...
    def free(self, port: int) -> None: ...

def open_shared(fd: int) -> Region: ...
def read(region: Region) -> dict[int, dict[str, Any]]: ...
