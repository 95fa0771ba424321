"""Networks of the service."""
