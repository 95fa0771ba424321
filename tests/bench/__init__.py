"""Benchmarks: environments to measure in, workloads to run in them, a runner that alternates, a report."""
