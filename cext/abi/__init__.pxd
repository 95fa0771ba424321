"""What the processes share: the layout of memory, its ordering, and the messages."""
