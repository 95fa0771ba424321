"""Docker's network driver."""
