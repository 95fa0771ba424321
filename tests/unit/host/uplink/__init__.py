"""The uplink as the hosting daemon has it."""
