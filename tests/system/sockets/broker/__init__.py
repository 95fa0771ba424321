"""The broker of direct sockets in a fabric."""
