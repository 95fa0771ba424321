"""The control server, and those who pretend to be one."""
