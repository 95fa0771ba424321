"""Interfaces that are otherwise than declared: looked at, and mended."""
