"""The hosting daemon."""
