"""Names of partitions: which there are, and the helper that tells them."""
