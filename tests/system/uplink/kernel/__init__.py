"""The kernel's side of the uplink, without a daemon."""
