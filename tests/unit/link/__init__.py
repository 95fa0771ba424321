"""An end of links."""
