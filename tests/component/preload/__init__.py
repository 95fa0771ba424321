"""The preload library in programs of other C libraries."""
