"""Partitions find each other by name."""
