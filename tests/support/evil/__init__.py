"""A partition daemon that was taken over: it registers as an honest one does, and then does what a test tells it."""
