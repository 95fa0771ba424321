"""Direct sockets: the broker, ends, and honest and lying peers."""
