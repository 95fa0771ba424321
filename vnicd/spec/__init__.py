"""What a user declares: partitions, uplinks, addresses, and the file that holds them. Pure."""
