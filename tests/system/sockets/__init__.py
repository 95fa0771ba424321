"""Direct sockets between the partitions of a fabric."""
