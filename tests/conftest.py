"""For all tests: the asserts in the shared helpers explain themselves as those in tests do."""

import pytest

for module in ("waiting", "fabric", "partition", "streams", "datagrams", "frames", "direct", "servers"):
    pytest.register_assert_rewrite(f"tests.support.{module}")
