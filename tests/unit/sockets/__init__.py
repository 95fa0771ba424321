"""Structures and names of direct sockets."""
