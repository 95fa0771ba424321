"""Tests that start processes, and need no root."""
