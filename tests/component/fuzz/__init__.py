"""Each target of the fuzzers for a moment."""
