"""A link to another daemon: when it may be written, how fast, and who is woken."""
