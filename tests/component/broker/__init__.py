"""The broker as a process of its own."""
