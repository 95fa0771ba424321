"""What the integration tests and the benchmarks share: fabrics, waiting, traffic."""
