"""The names helper: tells programs in partitions each other's addresses."""
