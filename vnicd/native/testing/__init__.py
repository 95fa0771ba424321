"""Compiled modules that serve tests alone; they are not installed."""
