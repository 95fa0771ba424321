"""vnicctl, the command line."""
