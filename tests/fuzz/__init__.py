"""What may come from hostile neighbours, by the million."""
