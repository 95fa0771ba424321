"""Structures of direct sockets, as compilers see them."""
