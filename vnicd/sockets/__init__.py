"""Direct sockets as Python sees them: the layout of their memory, and the names that tell who is there."""
