"""Unit tests of vnicd.check."""
