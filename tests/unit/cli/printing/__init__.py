"""The forms of the output of vnicctl."""
