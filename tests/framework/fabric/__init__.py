"""Fabrics of tests: their partitions, their machine, what comes over them and what they leave."""
