"""`vnicctl check`: what is between two ports, found out by looking and by probing, and told as a cause and a remedy."""
