"""Shared memory between two processes."""
