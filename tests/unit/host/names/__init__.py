"""The names helper, as the hosting daemon has it."""
