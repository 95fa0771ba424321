"""The NIC of an uplink: what it can do, and when it goes."""
