"""What the compiled modules for tests do by themselves."""
