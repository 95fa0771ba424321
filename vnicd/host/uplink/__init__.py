"""The uplink: the machine's NIC, as the partitions share it."""
