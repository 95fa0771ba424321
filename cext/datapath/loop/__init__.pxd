"""The loop: delivering, commands, rounds, sleeping, and its CPU."""
