"""What any daemon needs as a process: notifications to systemd, dropped privileges, common wake-ups."""
