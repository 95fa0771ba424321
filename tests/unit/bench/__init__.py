"""The arithmetic and the parsing of the benchmark."""
