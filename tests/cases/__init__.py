"""Small programs that show what TCP does, run on every path that a connection can take."""
