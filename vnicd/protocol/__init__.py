"""The two protocols: vnicctl with the hosting daemon, and the hosting daemon with partition daemons."""
