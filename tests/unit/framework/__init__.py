"""What the tests share, itself tested."""
