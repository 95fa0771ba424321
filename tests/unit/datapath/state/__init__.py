"""The ring, with an honest and with a lying other side."""
