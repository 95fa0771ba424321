"""What is installed beside the program."""
