"""Shared memory: counters and the directory."""
