"""What everything in the loop stands on: the ring, the loop's state, its counters, its events."""
