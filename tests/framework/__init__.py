"""What all tests and the benchmarks share: fabrics, waiting, traffic."""
