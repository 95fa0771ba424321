"""What container runtimes need of vnicd, and where they look for it."""
