"""What an installation of the service puts on a machine, and takes away."""
