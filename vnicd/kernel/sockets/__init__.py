"""What direct sockets need of the kernel."""
