"""What is asked of the kernel."""
