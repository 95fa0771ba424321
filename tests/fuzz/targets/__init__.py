"""All targets by name."""

from tests.fuzz.target import Target
from tests.fuzz.targets import broker, control, endpoint, fabric_file, links, native, pages, registration

TARGETS: dict[str, Target] = {}
for module in (native, fabric_file, control, pages, links, endpoint, registration, broker):
    TARGETS |= module.TARGETS
