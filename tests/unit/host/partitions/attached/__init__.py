"""What becomes of partitions in namespaces of somebody else."""
