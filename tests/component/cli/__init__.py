"""vnicctl as a process, or with a `vnicd` that pretends."""
