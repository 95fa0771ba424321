"""A fabric's file, directory, memory, limits and end."""
