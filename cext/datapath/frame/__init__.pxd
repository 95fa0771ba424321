"""What a frame is and where it belongs; nothing here moves one."""
