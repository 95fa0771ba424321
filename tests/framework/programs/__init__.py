"""Programs that tests run, here or in a partition."""
