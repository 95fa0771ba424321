"""What names need of the kernel."""
