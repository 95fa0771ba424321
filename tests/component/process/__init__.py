"""How a daemon as a process of its own logs."""
