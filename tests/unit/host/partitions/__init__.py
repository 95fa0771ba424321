"""How partition daemons are taken in."""
