"""Who has a link with whom, and the hosting daemon's own datapath."""
