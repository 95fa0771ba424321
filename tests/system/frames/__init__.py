"""Any frame between two partitions."""
