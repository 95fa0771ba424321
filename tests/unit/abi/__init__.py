"""The layout of shared memory, and its ordering."""
