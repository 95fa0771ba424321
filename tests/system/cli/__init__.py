"""The command line on a running fabric."""
