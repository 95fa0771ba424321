"""The exchange, in the test's process."""
