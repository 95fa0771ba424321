"""What `vnicctl containers` puts where, and what it finds."""
