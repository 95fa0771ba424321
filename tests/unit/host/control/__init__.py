"""The control server and its rules."""
