"""The preload library's layers."""
