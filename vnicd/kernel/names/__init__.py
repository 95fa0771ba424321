"""What names of partitions need of the kernel: sockets in namespaces, and files."""
