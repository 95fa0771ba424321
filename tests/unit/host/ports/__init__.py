"""Ports, their connections and their saved state."""
