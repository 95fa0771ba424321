"""What environment variables say of a whole run of the tests."""

import os

LONG = bool(os.environ.get("VNICD_LONG"))
"""Whether tests take minutes and gigabytes, and those marked slow run at all; `scripts/test --long` sets it."""
