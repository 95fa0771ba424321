from collections.abc import Sequence

from vnicd.native.memory import Region

SIZE: int
TEXT_MOST: int
CONTROL_RECORDS: int
LOOP_RECORDS: int
KINDS: dict[str, tuple[str, ...]]

Raw = tuple[str, int, int, int, int, int, tuple[int, ...], bytes]

def begin(region: Region) -> None: ...

class Writer:
    def __init__(self, region: Region) -> None: ...
    def put(self, kind: str, values: Sequence[int], text: str, monotonic_ns: int, wall_ns: int) -> None: ...

def records(first: bytes, second: bytes) -> list[Raw]: ...
