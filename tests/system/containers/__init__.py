"""Container runtimes use a fabric as they use any network."""
