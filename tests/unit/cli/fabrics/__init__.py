"""vnicctl within the test's process, against a hosting daemon that pretends."""
