"""Upstream test suites under the preload library, compared test by test with a run without it."""
