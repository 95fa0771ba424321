"""Loops, rings and links as tests drive them."""
