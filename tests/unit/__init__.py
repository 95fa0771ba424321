"""Tests of one module each, within the process of the tests; folders mirror those of the source."""
