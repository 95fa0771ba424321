"""`vnicd docker`: vnicd as a network driver of Docker."""
