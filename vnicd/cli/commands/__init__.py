"""A file for each command of vnicctl."""
