"""What the benchmark runs, and how it reads what tools print."""
