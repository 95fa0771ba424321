"""Partitions in namespaces of somebody else, such as those of containers."""
