"""Daemons and what is around them come to harm."""
