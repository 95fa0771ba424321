"""Writes random programs: a model of the sockets in them, beginnings, and pieces that follow at random."""
