"""All targets by name."""

from tests.fuzz.target import Target
from tests.fuzz.targets import control, fabric_file, native

TARGETS: dict[str, Target] = native.TARGETS | fabric_file.TARGETS | control.TARGETS
