"""The names helper's parts."""
