"""Names under systemd."""
