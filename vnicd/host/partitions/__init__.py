"""Partitions made, watched, brought back and taken away."""
