from collections.abc import Sequence
from typing import Any

from vnicd.memory import Region

FREE: int
LIVE: int
DOWN: int
MAX_PORTS: int
SIZE: int

class Writer:
    region: Region
    def put(
        self, port: int, state: int, mac: str, generation: int, mtu: int, addresses: Sequence[str]
    ) -> None: ...
    def free(self, port: int) -> None: ...

def open_shared(fd: int) -> Region: ...
def read(region: Region) -> dict[int, dict[str, Any]]: ...
