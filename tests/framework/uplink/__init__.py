"""Machines with a NIC, or with one end of a veth for it."""
