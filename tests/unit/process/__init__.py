"""What a process is to systemd."""
