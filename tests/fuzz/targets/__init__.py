"""All targets by name."""

from tests.fuzz.target import Target
from tests.fuzz.targets import broker, control, fabric_file, native, registration

TARGETS: dict[str, Target] = {}
for module in (native, fabric_file, control, registration, broker):
    TARGETS |= module.TARGETS
