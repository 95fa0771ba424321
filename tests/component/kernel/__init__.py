"""Processes, and what several of them share."""
