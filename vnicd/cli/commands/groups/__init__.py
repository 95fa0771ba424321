"""Commands that have commands of their own: partition, uplink, publish."""
