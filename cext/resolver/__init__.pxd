"""The thread that answers programs' questions of who has an address."""
