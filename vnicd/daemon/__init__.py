"""The hosting daemon and the partition daemon."""
