"""What the MACs of a fabric's partitions are made from besides their names, so that those of two machines differ."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

MACHINE_ID = Path("/etc/machine-id")


def make(machine_id: Path = MACHINE_ID) -> str:
    """A seed for a new fabric: this machine's; a random one where the machine has no id.

    It says nothing of the machine's id, which is not to be shown to others (machine-id(5)).
    """
    try:
        ident = bytes.fromhex(machine_id.read_text().strip())
    except (OSError, ValueError):
        ident = b""
    return hashlib.blake2s(ident or os.urandom(16), digest_size=8, person=b"vnicdmac").hexdigest()


def of_state(path: Path) -> str:
    """The seed of the fabric in a state file; that of a new one when there is no state, or a damaged one.

    Empty for a state of a version that had none: the partitions of a fabric keep the MACs that they have.
    """
    try:
        seed = json.loads(path.read_text()).get("mac_seed", "")
    except (OSError, ValueError, AttributeError, RecursionError):
        return make()
    return seed if isinstance(seed, str) else make()
