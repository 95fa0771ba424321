"""For all tests: the asserts in what they share explain themselves as those in tests do."""

import pytest

pytest.register_assert_rewrite("tests.framework")
