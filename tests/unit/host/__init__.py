"""The hosting daemon's parts."""
