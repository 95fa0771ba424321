"""What is read of frames and made of them."""
