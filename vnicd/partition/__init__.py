"""The partition daemon."""
