"""The fabrics of this machine, as vnicctl finds, starts and ends them: the default network, and others beside it."""
