"""What a partition, an uplink and a fabric file are, and the planner."""
