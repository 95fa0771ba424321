"""Traffic by the uplink, in each of its modes."""
