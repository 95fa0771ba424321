"""What the hosting daemon knows of each partition, and its connection to each partition daemon."""
