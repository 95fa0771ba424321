"""The soak: random changes, deaths and traffic from a seed, with every invariant checked after each step."""
