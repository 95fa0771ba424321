"""Limits of the machine that fabrics share."""
