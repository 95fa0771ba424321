"""Partitions and their namespaces, and what is left of them."""
