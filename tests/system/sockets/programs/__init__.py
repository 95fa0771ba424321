"""Well-known programs with direct sockets."""
