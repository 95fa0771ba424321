"""Well-known programs, with the preload library and without it: what works, and what does not."""
