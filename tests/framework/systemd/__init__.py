"""systemd: containers that boot one, and what daemons tell it."""
