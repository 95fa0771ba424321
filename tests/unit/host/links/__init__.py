"""The life of links."""
