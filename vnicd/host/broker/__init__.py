"""The broker of direct sockets."""
